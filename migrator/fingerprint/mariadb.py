"""MariaDB 10.11 to 11.8, where it differs from MySQL: sequences, and the list of check constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection, column, select, table, text

from migrator.fingerprint.backend import Fact
from migrator.fingerprint.mysql import MySQL
from migrator.fingerprint.mysql_schema import described_facts

SEQUENCES: Final = text("""
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = coalesce(:schema, database()) AND table_type = 'SEQUENCE' ORDER BY table_name
""")

SEQUENCE_OPTIONS: Final = (
    "start_value", "minimum_value", "maximum_value", "increment", "cache_size", "cycle_option",
)  # fmt: skip

# Names are unique per table here, and a column's own check is told from the table's.
CHECKS: Final = text("""
    SELECT table_name, constraint_name, level, check_clause FROM information_schema.check_constraints
    WHERE constraint_schema = coalesce(:schema, database()) ORDER BY table_name, constraint_name
""")


class MariaDB(MySQL):
    """Fingerprints MariaDB."""

    name = "mariadb"
    extra_settings: Mapping[str, str] = {}

    def facts(self, connection: Connection, schema: str | None) -> Iterator[Fact]:
        """Read the information schema, and the sequences, each of which is a table of one row."""
        yield from described_facts(connection, schema)
        for owner, name, level, clause in connection.execute(CHECKS, {"schema": schema}):
            yield Fact("table", None, owner, owner, f"check {name} | {level.lower()} | {clause}")
        for name in self._sequences(connection, schema):
            source = table(name, *map(column, SEQUENCE_OPTIONS), schema=schema)
            values = connection.execute(select(source)).one()
            options = " ".join(f"{k} {v}" for k, v in zip(SEQUENCE_OPTIONS, values, strict=True))
            yield Fact("sequence", None, name, name, options)

    def counters(self, connection: Connection, schema: str | None) -> Mapping[str, int]:
        """Read AUTO_INCREMENT values, and of sequences the next value that is not handed out to a cache."""
        counters = dict(super().counters(connection, schema))
        for name in self._sequences(connection, schema):
            source = table(name, column("next_not_cached_value"), schema=schema)
            counters[name] = int(connection.execute(select(source)).scalar_one())
        return counters

    def _sequences(self, connection: Connection, schema: str | None) -> list[str]:
        return list(connection.execute(SEQUENCES, {"schema": schema}).scalars())
