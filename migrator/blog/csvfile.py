r"""CSV in which NULL is an unquoted ``\N``, which Python's csv module cannot tell from a quoted one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from migrator.errors import UsageError

NULL: Final = r"\N"

# One field and what ends it: a comma, or the end of the record.
_FIELD: Final = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|\Z)')


def read_csv(path: Path) -> Iterator[tuple[int, list[str | None]]]:
    r"""Read the records of a CSV file, header line included, one at a time.

    Fields may be quoted with ``"``, doubled inside, and may then hold commas and line breaks. Lines end
    with LF or CRLF; a byte order mark is skipped.

    Args:
        path: a UTF-8 file.

    Yields:
        The number of the line a record starts on, and its fields; None for an unquoted ``\N``.

    Raises:
        UsageError: a quote is never closed, or stands where none may.
    """
    # Only LF ends a line here: a CR inside quotes is the field's own, and is kept.
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        start, pending = 1, ""
        for number, line in enumerate(file, start=1):
            pending += line
            # Quotes inside a quoted field are doubled, so a record is complete when their number is even.
            if pending.count('"') % 2 == 0:
                yield start, _split(pending.removesuffix("\n").removesuffix("\r"), path, start)
                start, pending = number + 1, ""
        if pending:
            raise UsageError(f"{path}, line {start}: a quote is opened and never closed.")


def _split(record: str, path: Path, line: int) -> list[str | None]:
    if '"' not in record:
        return [None if field == NULL else field for field in record.split(",")]
    fields: list[str | None] = []
    position = 0
    while match := _FIELD.match(record, position):
        quoted, plain, end = match.groups()
        if quoted is not None:
            fields.append(quoted.replace('""', '"'))
        else:
            fields.append(None if plain == NULL else plain)
        if not end:
            return fields
        position = match.end()
    raise UsageError(
        f"{path}, line {line}: a quote stands inside field {len(fields) + 1}, which has none around."
    )
