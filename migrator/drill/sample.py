"""A part of a database that holds together: some rows of each table, and every row that those refer to.

Rows are picked in runs along each table's key, whatever they refer to, so that orphans of every kind come in
proportion; a kind too rare to be among them is added. Then, round after round, the rows that the picked ones
refer to, by declared foreign keys and by columns that look like references, until there are no more: else a
child would be an orphan in the sample that is none in the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.expression import FromClause

from migrator.catalog import Table
from migrator.dialects import Dialect, dialect_of
from migrator.discover import candidates
from migrator.drill.model import Sampled
from migrator.errors import MigratorError, UsageError
from migrator.naming import OWN_PREFIX, is_own_table
from migrator.predicate import all_null, child_alias, none_null, orphaned, table_clause
from migrator.reference import Reference, TableName
from migrator.references import Found, without_repeats

#: A table has at least so many rows in the sample, if it has them at all.
_FLOOR: Final = 20
#: So many orphans of a kind that was not among those picked.
_RARE: Final = 10
#: At most so many rows lie beside each other in a run.
_RUN: Final = 50
_KEEP: Final = OWN_PREFIX + "sample_"
_ONE: Final[sa.ColumnElement[int]] = sa.literal_column("1")


@dataclass(frozen=True)
class Sampling:
    """What was asked for.

    Args:
        rows: of the largest table; the others in the same proportion.
        share: of every table; given instead.
        references: that are to be kept whole beside those declared and those found by name.
    """

    rows: int | None = None
    share: float | None = None
    references: tuple[Reference, ...] = ()

    @classmethod
    def parse(cls, text: str, references: Sequence[Reference] = ()) -> Sampling:
        """`10000` rows of the largest table, or `5%` of every one.

        Raises:
            UsageError: neither.
        """
        word = text.strip().replace(",", "").replace("_", "")
        try:
            if word.endswith("%"):
                share = float(word[:-1]) / 100
                if 0 < share <= 1:
                    return cls(share=share, references=tuple(references))
            elif int(word) > 0:
                return cls(rows=int(word), references=tuple(references))
        except ValueError:
            pass
        raise UsageError(
            f"--sample {text} is neither a number of rows nor a share.",
            hint="Write --sample 10000 (rows of the largest table) or --sample 5%.",
        )


@dataclass
class Sample:
    """The rows to be kept, as tables of keys: made by `pick`, dropped by `forget`.

    Args:
        connection: in autocommit mode; a table without a schema is the source's.
        schema: where the tables of keys are made; None for beside the source's.
    """

    connection: Connection
    schema: str | None = None
    tables: dict[TableName, Table] = field(default_factory=dict)
    rows: dict[TableName, int] = field(default_factory=dict)
    _keeps: dict[TableName, str] = field(default_factory=dict)
    _share: float = 1.0

    def pick(self, wish: Sampling) -> None:
        """Decide which rows are kept.

        Raises:
            sqlalchemy.exc.DBAPIError: as the server said it.
        """
        dialect = dialect_of(self.connection.dialect)
        self.tables = {table.name: table for table in _tables(self.connection, dialect)}
        for name in self.tables:
            clause = table_clause(name)
            self.rows[name] = int(
                self.connection.execute(sa.select(sa.func.count()).select_from(clause)).scalar_one()
            )
        most = max(self.rows.values(), default=0) or 1
        self._share = min(1.0, wish.share if wish.share is not None else (wish.rows or most) / most)
        for name, table in self.tables.items():
            self._pick_runs(name, table)
        references = self._references(wish)
        for reference in references:
            self._pick_rare(reference)
        before = -1
        while (now := sum(map(self._kept_rows, self._keeps))) != before:
            before = now
            for reference in references:
                self._pick_referred(reference)

    def kept(self, name: TableName, source: FromClause) -> sa.ColumnElement[bool] | None:
        """True for the rows of `source` that are kept; None where all are."""
        if name not in self._keeps:
            return None
        keep = self._keep(name)
        return sa.exists(
            sa.select(_ONE)
            .select_from(keep)
            .where(*_same(keep, source, self.tables[name].key))
            .correlate(source)
        )

    def forget(self) -> Sampled:
        """Drop the tables of keys; what was kept of each table."""
        found = {}
        for name, rows in self.rows.items():
            kept = rows
            if name in self._keeps:
                kept = self._kept_rows(name)
                self.connection.execute(sa.schema.DropTable(self._stored(name)))
            found[str(name)] = (kept, rows)
        self._keeps.clear()
        return Sampled(share=self._share, tables=found)

    # -- picking -------------------------------------------------------------------------------------
    def _pick_runs(self, name: TableName, table: Table) -> None:
        rows = self.rows[name]
        target = min(rows, max(_FLOOR, math.ceil(rows * self._share)))
        if target == rows or not table.key:
            return  # kept whole
        self._keeps[name] = f"{_KEEP}{len(self._keeps)}"
        source = table_clause(name, *table.key)
        keys = [source.c[column] for column in table.key]
        stored = self._stored(name)
        # CREATE TABLE ... AS gives the keys their own types and collations, on every server.
        nothing = sa.select(*keys).where(sa.literal_column("1") == sa.literal_column("0"))
        self._run(
            f"CREATE TABLE {self._quoted(stored)} AS {nothing.compile(dialect=self.connection.dialect)}"
        )
        listed = ", ".join(self._quote(column) for column in table.key)
        index = self._quote(f"{stored.name}_key")
        self._run(f"CREATE UNIQUE INDEX {index} ON {self._quoted(stored)} ({listed})")
        run = max(1, min(_RUN, target // 20))
        number = sa.func.row_number().over(order_by=keys)
        numbered = sa.select(*keys, (number - 1).label("migrator_n")).subquery("numbered")
        stride = max(run, rows * run // target)
        chosen = numbered.c.migrator_n % sa.literal_column(str(stride)) < sa.literal_column(str(run))
        self._add(name, sa.select(*(numbered.c[column] for column in table.key)).where(chosen))

    def _pick_rare(self, reference: Reference) -> None:
        """Some orphans of each kind that is there and was not picked."""
        child = self.tables[reference.child]
        if reference.child not in self._keeps:
            return
        rows = child_alias(reference, *child.key)
        kinds = [all_null(reference, rows), none_null(reference, rows)]
        if len(reference.columns) > 1:
            kinds.append(~sa.or_(*kinds))
        picked = self.kept(reference.child, rows)
        assert picked is not None
        for kind in kinds:
            these = sa.select(*(rows.c[column] for column in child.key)).where(
                orphaned(reference, rows), kind
            )
            if self.connection.execute(these.where(picked).limit(1)).first() is None:
                self._add(reference.child, these.limit(_RARE))

    def _pick_referred(self, reference: Reference) -> None:
        """The parents of kept children that are not kept yet."""
        if reference.parent not in self._keeps:
            return
        parent = table_clause(
            reference.parent, *reference.parent_columns, *self.tables[reference.parent].key
        ).alias("p")
        child = child_alias(reference, *self.tables[reference.child].key)
        pairs = zip(reference.columns, reference.parent_columns, strict=True)
        query = (
            sa.select(*(parent.c[column] for column in self.tables[reference.parent].key))
            .distinct()
            .select_from(
                parent.join(child, sa.and_(*(child.c[ours] == parent.c[theirs] for ours, theirs in pairs)))
            )
        )
        kept = self.kept(reference.child, child)
        if kept is not None:
            query = query.where(kept)
        there = self.kept(reference.parent, parent)
        assert there is not None
        self._add(reference.parent, query.where(~there))

    def _references(self, wish: Sampling) -> list[Reference]:
        found = [
            *(Found(one, "argument") for one in wish.references),
            *(
                Found(Reference(key.child, key.columns, key.parent, key.parent_columns), "declared")
                for table in self.tables.values()
                for key in table.foreign_keys
            ),
            *(Found(one.reference, "name") for one in candidates(self.connection)),
        ]
        named = without_repeats(found)
        return [reference for one in named if (reference := self._here(one.reference)) is not None]

    def _here(self, reference: Reference) -> Reference | None:
        """The reference between two of our tables, as they are called here."""
        child, parent = self._called(reference.child), self._called(reference.parent)
        if child is None or parent is None:
            return None
        return Reference(child, reference.columns, parent, reference.parent_columns)

    def _called(self, name: TableName) -> TableName | None:
        if name in self.tables:
            return name
        return next(
            (one for one in self.tables if one.name == name.name and None in (one.schema, name.schema)), None
        )

    # -- statements ----------------------------------------------------------------------------------
    def _keep(self, name: TableName) -> FromClause:
        return table_clause(TableName(self._keeps[name], self.schema), *self.tables[name].key).alias("k")

    def _stored(self, name: TableName) -> sa.Table:
        return sa.Table(self._keeps[name], sa.MetaData(), schema=self.schema)

    def _kept_rows(self, name: TableName) -> int:
        count = sa.select(sa.func.count()).select_from(self._keep(name))
        return int(self.connection.execute(count).scalar_one())

    def _add(self, name: TableName, query: sa.Select[Any]) -> None:
        key = self.tables[name].key
        into = table_clause(TableName(self._keeps[name], self.schema), *key)
        self.connection.execute(sa.insert(into).from_select([into.c[one] for one in key], query))

    def _run(self, statement: str) -> None:
        self.connection.execution_options(no_parameters=True).exec_driver_sql(statement)

    def _quote(self, name: str) -> str:
        return self.connection.dialect.identifier_preparer.quote_identifier(name)

    def _quoted(self, table: sa.Table) -> str:
        return ".".join(self._quote(part) for part in (table.schema, table.name) if part)


def thin_out(connection: Connection, wish: Sampling) -> Sampled:
    """Delete from a copy what is not in the sample. No trigger may go off and no foreign key be looked at:
    that is the caller's to see to."""
    sample = Sample(connection)
    sample.pick(wish)
    for name, table in sample.tables.items():
        clause = table_clause(name, *table.key)
        kept = sample.kept(name, clause)
        if kept is not None:
            connection.execute(sa.delete(clause).where(~kept))
    return sample.forget()


def _tables(connection: Connection, dialect: Dialect) -> Iterator[Table]:
    """The application's tables that hold rows of their own. A partition's rows are its parent's."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name
    schemas: list[str | None] = [None]
    if dialect.family == "postgresql":
        schemas += [
            name
            for name in inspector.get_schema_names()
            if name not in (default, "information_schema") and not name.startswith("pg_")
        ]
    for schema in schemas:
        for name in inspector.get_table_names(schema=schema):
            if is_own_table(name):
                continue
            try:
                table = dialect.table(connection, TableName(name, schema))
            except MigratorError:
                continue
            if table.kind in ("table", "partitioned", "unlogged"):
                yield replace(table, name=TableName(name, schema))


def _same(one: FromClause, other: FromClause, columns: Sequence[str]) -> Iterator[sa.ColumnElement[bool]]:
    return (one.c[column] == other.c[column] for column in columns)
