"""Whether the disk has room for a rebuild, which writes the table once more into the same file
(home-assistant 123358: a disk that was full half-way)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.bytesize import bytes_told
from migrator.catalog import Facts
from migrator.dialects.telling import Problem

#: The copy, and a little for the journal beside the file.
_FACTOR = 1.2
_SIZE = sa.text(
    "SELECT sum(pgsize) FROM dbstat WHERE name IN "
    "(SELECT name FROM main.sqlite_master WHERE tbl_name = :table COLLATE NOCASE)"
)


def room(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """Nothing, where even the whole file would find room once more. Only where it would not is the table
    measured, because that means to read it."""
    reference = facts.reference
    if facts.foreign_key is not None and (reference.nullable or facts.not_null):
        return  # there is nothing to rebuild
    main = connection.exec_driver_sql("SELECT file FROM pragma_database_list WHERE name = 'main'")
    file = str(main.scalar() or "")
    if not file:
        return  # in memory
    page, pages, unused = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_size", "page_count", "freelist_count")
    )
    free = shutil.disk_usage(Path(file).parent).free + unused * page
    if free >= (pages - unused) * page * _FACTOR:
        return
    try:
        needed = int(connection.scalar(_SIZE, {"table": facts.child.name.name}) or 0) * _FACTOR
    except sa.exc.OperationalError:  # this SQLite was built without dbstat
        yield Problem(
            "warn",
            "room-unknown",
            f"The rebuild of {facts.child.name} writes the table once more where {Path(file).parent} is, and "
            f"{bytes_told(free)} are free; this SQLite does not say how big the table is.",
            "Look whether that is enough before you go on.",
        )
        return
    if free < needed:
        yield Problem(
            "refuse",
            "no-room",
            f"The rebuild of {facts.child.name} needs about {bytes_told(needed)}; "
            f"{bytes_told(free)} are free.",
            f"Make room where {Path(file).parent} is.",
        )
