"""What a driver says of an error, in a line of our own messages."""

from __future__ import annotations

import sqlalchemy as sa


def driver_says(error: sa.exc.DBAPIError) -> str:
    """The server's words, and its number where the driver keeps the two apart. The first line only: what
    follows may show a row."""
    args: tuple[object, ...] = getattr(error.orig, "args", ())
    if len(args) == 2 and isinstance(args[0], int):  # PyMySQL
        return f"{' '.join(str(args[1]).split())} ({args[0]})"
    text = str(error.orig or "").strip()
    return text.splitlines()[0] if text else type(error.orig or error).__name__
