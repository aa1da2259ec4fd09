"""Whatever is sent to a database, heard, or met with an act, before it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine


@contextmanager
def before_each(engine: Engine | type[Engine], act: Callable[..., Any]) -> Iterator[None]:
    """Meanwhile this is called before each statement, as SQLAlchemy calls it: connection, cursor, statement
    and the rest.

    Args:
        engine: whose statements; the class for those of all.
    """
    sa.event.listen(engine, "before_cursor_execute", act)
    try:
        yield
    finally:
        sa.event.remove(engine, "before_cursor_execute", act)
