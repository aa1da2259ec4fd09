"""What MySQL and MariaDB say about a database, from their information schema.

SHOW CREATE TABLE is no canonical form: after MODIFY ... NOT NULL and back, NULL or DEFAULT NULL may be
spelled out where it was not. So every row of the views below becomes one line of the values it has, whatever
columns a version adds, less the ones that count, measure or tell the time. The database's own name is left
out, so that a clone under another name compares equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, text

from migrator.fingerprint.backend import Fact

# Whatever view they stand in: what rows were stored, when, and for whom this session may look.
VOLATILE: Final = frozenset({
    "version", "table_rows", "avg_row_length", "data_length", "max_data_length", "index_length",
    "data_free", "auto_increment", "create_time", "update_time", "check_time", "checksum",
    "max_index_length", "temporary", "cardinality", "created", "last_altered", "last_executed",
    "originator", "privileges", "column_key", "table_catalog", "catalog_name", "constraint_catalog",
    "unique_constraint_catalog", "trigger_catalog", "event_object_catalog", "routine_catalog",
    "specific_catalog", "event_catalog", "referenced_table_catalog", "index_schema", "sql_path",
    "status_time",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """One view of the information schema: how its rows are found, ordered and filed.

    `owner` is the column naming the relation (or the object), `name` the one naming what hangs on it where
    that is an object of its own, `word` what its lines begin with.
    """

    view: str
    schema: str
    kind: str
    word: str
    owner: str
    order: str
    name: str | None = None
    condition: str = ""


VIEWS: Final = (
    View("tables", "table_schema", "table", "table", "table_name", "table_name"),
    View("views", "table_schema", "view", "view", "table_name", "table_name"),
    View("columns", "table_schema", "table", "column", "table_name", "table_name, ordinal_position"),
    View("table_constraints", "table_schema", "table", "constraint", "table_name",
         "table_name, constraint_type, constraint_name"),
    View("key_column_usage", "table_schema", "table", "key column", "table_name",
         "table_name, constraint_name, ordinal_position"),
    View("referential_constraints", "constraint_schema", "table", "foreign key", "table_name",
         "table_name, constraint_name"),
    View("statistics", "table_schema", "table", "index", "table_name",
         "table_name, index_name, seq_in_index"),
    View("partitions", "table_schema", "table", "partition", "table_name",
         "table_name, partition_ordinal_position, subpartition_ordinal_position",
         condition="AND partition_name IS NOT NULL"),
    View("table_privileges", "table_schema", "table", "grant", "table_name",
         "table_name, grantee, privilege_type"),
    View("column_privileges", "table_schema", "table", "grant", "table_name",
         "table_name, column_name, grantee, privilege_type"),
    View("triggers", "trigger_schema", "trigger", "trigger", "event_object_table",
         "event_object_table, action_timing, event_manipulation, action_order", name="trigger_name"),
    View("routines", "routine_schema", "routine", "routine", "routine_name", "routine_name, routine_type"),
    View("parameters", "specific_schema", "routine", "parameter", "specific_name",
         "specific_name, routine_type, ordinal_position"),
    View("events", "event_schema", "event", "event", "event_name", "event_name"),
    View("schemata", "schema_name", "schema", "schema", "", "schema_name"),
    View("schema_privileges", "table_schema", "schema", "grant", "", "grantee, privilege_type"),
)  # fmt: skip

# MySQL's check constraints do not say which table they are on; their names are unique in the database.
CHECKS: Final = text("""
    SELECT t.table_name, c.constraint_name, t.enforced, c.check_clause
    FROM information_schema.check_constraints c
    JOIN information_schema.table_constraints t
      ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name
     AND t.constraint_type = 'CHECK'
    WHERE c.constraint_schema = coalesce(:schema, database()) ORDER BY t.table_name, c.constraint_name
""")

AUTO_INCREMENT: Final = text("""
    SELECT table_name, auto_increment FROM information_schema.tables
    WHERE table_schema = coalesce(:schema, database()) AND auto_increment IS NOT NULL ORDER BY table_name
""")

KINDS: Final = {"VIEW": "view", "SEQUENCE": "sequence", "SYSTEM VIEW": "view"}


def described_facts(connection: Connection, schema: str | None) -> Iterator[Fact]:
    """Yield a line for every row of the views above."""
    database = schema or str(connection.execute(text("SELECT database()")).scalar_one())
    kinds: dict[str, str] = {}
    for view in VIEWS:
        statement = text(
            f"SELECT * FROM information_schema.{view.view} "
            f"WHERE {view.schema} = :database {view.condition} ORDER BY {view.order}"
        )
        for found in connection.execute(statement, {"database": database}).mappings():
            row = {key.lower(): value for key, value in found.items()}
            owner = str(row.pop(view.owner)) if view.owner else "(default)"
            name = str(row.pop(view.name)) if view.name else owner
            if view.view == "tables":
                kinds[owner] = KINDS.get(row["table_type"], "table")
            kind = kinds.get(owner, "table") if view.kind == "table" else view.kind
            yield Fact(kind, None, owner, name, f"{view.word} {_described(row, database)}")


def check_facts(connection: Connection, schema: str | None) -> Iterator[Fact]:
    """Yield MySQL's check constraints, with whether they are enforced."""
    for owner, name, enforced, clause in connection.execute(CHECKS, {"schema": schema}):
        yield Fact("table", None, owner, owner, f"check {name} | enforced {enforced} | {clause}")


def _described(row: dict[str, Any] | RowMapping, database: str) -> str:
    """Write a row's values in one line, a definition of several lines in several."""
    qualifier = f"`{database.replace('`', '``')}`."
    parts = []
    for key, value in row.items():
        own = key.endswith(("_schema", "schema_name")) and value == database
        # An empty default is a default; an empty comment is none.
        if value is None or own or key in VOLATILE or (value == "" and key != "column_default"):
            continue
        parts.append(f"{key} {str(value).replace(qualifier, '')}")
    return " | ".join(parts)
