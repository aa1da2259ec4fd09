"""Whether there is room for a copy, as far as that can be known before it is begun."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.bytesize import bytes_told
from migrator.errors import Refused

_SIZE: Final = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
    # Allocated, not used: what the statistics say may be a day old.
    "mysql": "SELECT SUM(file_size) FROM information_schema.innodb_tablespaces "
    "WHERE name LIKE CONCAT(REPLACE(REPLACE(DATABASE(), '\\\\', '\\\\\\\\'), '_', '\\\\_'), '/%')",
    "mariadb": "SELECT SUM(file_size) FROM information_schema.innodb_sys_tablespaces "
    "WHERE name LIKE CONCAT(REPLACE(REPLACE(DATABASE(), '\\\\', '\\\\\\\\'), '_', '\\\\_'), '/%')",
}
#: What the copy takes, and what its upgrade sets aside and rebuilds.
_FACTOR: Final = 1.2
#: From so many bytes on it is told that nobody knows.
_WORTH_A_WORD: Final = 1 << 30


@dataclass(frozen=True)
class Room:
    """What a copy needs and what there is.

    Args:
        source: the bytes that the database takes; None where the role may not know.
        free: the bytes that are free; None where the server does not say and its disk is not to be seen.
        where: in words.
    """

    source: int | None
    free: int | None
    where: str

    def check(self, name: str) -> str | None:
        """What to say about it, if anything.

        Args:
            name: of the database.

        Raises:
            Refused: there is not enough.
        """
        if self.source is None:
            return None
        needed = int(self.source * _FACTOR)
        if self.free is None:
            if self.source < _WORTH_A_WORD:
                return None
            return (
                f"A copy needs about {bytes_told(needed)} {self.where}; how much is free there is not known: "
                "look with df."
            )
        if self.free >= needed:
            return None
        raise Refused(
            f"There is no room for a copy of {name}: it needs about {bytes_told(needed)} {self.where}, and "
            f"{bytes_told(self.free)} are free. Nothing was changed.",
            hint="Make room there, or drill --in-place in a staging copy on another server.",
        )


def size(connection: Connection) -> int | None:
    """The bytes a database takes; None where the role may not know. The connection is in autocommit mode."""
    dialect = connection.dialect
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    try:
        found = connection.execution_options(no_parameters=True).exec_driver_sql(_SIZE[name]).scalar()
    except (KeyError, sa.exc.DBAPIError):
        return None
    return int(found) if found is not None else None


def free_beside(file: Path, *, modified: float | None = None, holds: str = "") -> int | None:
    """The bytes free on the disk of a server's file, where that very file is to be seen from here.

    Args:
        file: as the server calls it. On another machine, or in a container, another one may be called so.
        modified: when the server says that it was last written; None where it does not say.
        holds: a text that only this server's has in it.
    """
    try:
        written = file.stat().st_mtime
        is_it = modified is None or abs(written - modified) < 0.001
        is_it = is_it and (not holds or holds in file.read_text(encoding="utf-8", errors="replace"))
        return shutil.disk_usage(file.parent).free if is_it else None
    except OSError:
        return None
