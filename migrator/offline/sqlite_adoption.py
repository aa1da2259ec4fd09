"""Adoption and its inverse for the sqlite3 shell."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from migrator import journal
from migrator.dialects.sqlite_tokens import quote_name, quote_text
from migrator.journal import RUN
from migrator.offline.adoption import Adoption
from migrator.offline.sqlite_blocks import printed, refuse_if, refuse_unless_table
from migrator.offline.words import comment

_AGAIN = "write the script again with the database in reach"


class Adopting(Adoption):
    """SQLite's form."""

    def adopt(self) -> Iterator[str]:
        """What is there is looked at and noted before anything is created."""
        records = self.records
        yield ".bail on"
        yield printed("BEGIN IMMEDIATE")
        for table, column in self.wanted():
            name = quote_text(table)
            yield refuse_if(
                f"(SELECT count(*) FROM main.sqlite_master WHERE name = {name} COLLATE NOCASE) > 0 AND "
                f"(SELECT count(*) FROM pragma_table_xinfo({name}) WHERE name = {quote_text(column)}) = 0",
                f"table {table} has no column {column}",
            )
        names = ", ".join(f"({quote_text(name)})" for name in sorted(self.tables))
        there = "(SELECT count(*) FROM main.sqlite_master AS s WHERE s.name = column1)"
        lists = f"json((SELECT json_group_array(column1) FROM (VALUES {names}) WHERE {there} {{}}))"
        facts = f"json_object('adopted', {lists.format('> 0')}, 'created', {lists.format('= 0')})"
        noted = self.words.sql(
            sa.update(RUN)
            .where(*records.under_way, RUN.c.facts == self.words.value("{}"))
            .values(facts=sa.literal_column(facts))
        )
        statements = [*records.ensure(), *records.start({}), noted, *self.creation(), records.finish()]
        yield printed(*statements, "COMMIT")

    def abandon(self) -> Iterator[str]:
        """The shell has no conditions: which tables we created is read when the script is written. Where it
        could not be, all are taken for adopted and stay."""
        records, drops = self.records, self._drops()
        yield ".bail on"
        yield printed("BEGIN IMMEDIATE")
        yield refuse_unless_table(RUN.name, "there is no journal, so no adoption to take back")
        if not self.stage.trusted:
            yield comment("the tables are taken to have been there before: they stay")
        for name in drops:
            if not self.drop:
                yield refuse_if(
                    f"(SELECT count(*) FROM {quote_name(name)}) > 0",
                    f"table {name} holds rows by now: {_AGAIN}",
                )
            yield printed(f"DROP TABLE IF EXISTS {quote_name(name)}")
        yield printed(records.undone("adopt"))
        if not self.stage.trusted or self.stage.is_idle_without(self.reference, None):
            yield refuse_if(f"{records.left} > 0", f"the journal has other runs in force: {_AGAIN}")
            yield printed(*records.dropped())
        yield printed("COMMIT")

    def _drops(self) -> list[str]:
        """The tables we created that are empty, children first; from the first that is not, all stay."""
        found: list[str] = []
        with self.stage.connection() as connection:
            if connection is None or not self.stage.trusted or not journal.exists(connection):
                return found
            created: set[str] = set()
            for run in journal.runs(connection, self.reference):
                if run.operation == "adopt" and run.state != "undone":
                    created |= set(run.facts.get("created", ()))
            for name in reversed(self.tables):
                if name not in created or not sa.inspect(connection).has_table(name):
                    continue
                table = self.metadata.tables[name]
                if not self.drop and connection.execute(sa.select(sa.literal(1)).select_from(table)).first():
                    break
                found.append(name)
        return found
