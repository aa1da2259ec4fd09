"""SQLite: the backup API copies page by page, consistent even while someone writes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, Connection

from migrator.drill.clones.base import PREFIX, Cloner, Leftover, created, maker_lives
from migrator.errors import Refused

# What SQLite keeps beside a database.
_BESIDE = ("", "-wal", "-shm", "-journal")


class SQLiteCloner(Cloner):
    """A file in the directory for temporary files."""

    def clone(self, name: str) -> tuple[URL, str]:
        """See `Cloner.clone`. Takes a SHARED lock on the source, which in WAL mode stops nobody."""
        path = Path(self.source.database or "")
        if self.source.database in (None, "", ":memory:") or not path.is_file():
            raise Refused(
                "Only an SQLite file can be copied, and there is none at "
                f"{self.source.database or ':memory:'}. Nothing was changed.",
                hint="Name it with --url sqlite:///file.db",
            )
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        target = _path(name)
        # The copy holds what the source holds: nobody else's business, whatever the umask.
        target.touch(mode=0o600)
        try:
            with (
                closing(sqlite3.connect(uri, uri=True)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
        except sqlite3.Error as error:
            raise Refused(
                f"The SQLite file {path} could not be copied: {error}. Nothing was changed."
            ) from error
        return self.source.set(database=str(target)), "SQLite's backup API"

    def free(self, connection: Connection) -> tuple[int | None, str]:
        """See `Cloner.free`. TMPDIR says where."""
        directory = tempfile.gettempdir()
        return shutil.disk_usage(directory).free, f"in {directory} (TMPDIR)"

    @contextmanager
    def undisturbed(self, connection: Connection) -> Iterator[None]:
        """See `Cloner.undisturbed`. Triggers cannot be switched off: they are taken away for the time."""
        connection = connection.execution_options(no_parameters=True)
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        triggers = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).all()
        for name, _ in triggers:
            quoted = connection.dialect.identifier_preparer.quote_identifier(name)
            connection.exec_driver_sql(f"DROP TRIGGER {quoted}")
        yield
        for _, text in triggers:
            connection.exec_driver_sql(text)

    def pack(self, connection: Connection) -> None:
        """See `Cloner.pack`."""
        connection.exec_driver_sql("VACUUM")

    def drop(self, name: str) -> None:
        """See `Cloner.drop`."""
        for suffix in _BESIDE:
            Path(f"{_path(name)}{suffix}").unlink(missing_ok=True)

    def leftovers(self) -> Iterator[Leftover]:
        """See `Cloner.leftovers`."""
        for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*.db")):
            yield Leftover(path.stem, created(path.stem), maker_lives(path.stem))


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"{name}.db")
