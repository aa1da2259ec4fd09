"""Adoption and its inverse for psql."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

import sqlalchemy as sa

from migrator.dialects.pg_words import literal, quote
from migrator.journal import RUN
from migrator.offline.adoption import Adoption
from migrator.offline.postgresql_blocks import block, unless

_SETTINGS = ("lock_timeout", "statement_timeout", "client_min_messages")
_SET = "SET lock_timeout = '5s';\nSET statement_timeout = '60s';\nSET client_min_messages = 'warning';"


class Adopting(Adoption):
    """PostgreSQL's form."""

    def adopt(self) -> Iterator[str]:
        """What is there is looked at and noted before anything is created."""
        yield _SET
        checks = [
            unless(
                f"to_regclass({literal(quote(table))}) IS NULL OR EXISTS (SELECT FROM pg_attribute WHERE "
                f"attrelid = to_regclass({literal(quote(table))}) AND attname = {literal(column)} "
                "AND NOT attisdropped)",
                f"table {table} has no column {column}",
            )
            for table, column in self.wanted()
        ]
        yield block([], *checks)
        names = ", ".join(f"({literal(name)}, {literal(quote(name))})" for name in self.tables)
        listed = (
            "coalesce(jsonb_agg(t.name ORDER BY t.name) FILTER (WHERE to_regclass(t.quoted) IS {}NULL), '[]')"
        )
        facts = (
            f"(SELECT jsonb_build_object('adopted', {listed.format('NOT ')}, "
            f"'created', {listed.format('')})::text FROM (VALUES {names}) AS t(name, quoted))"
        )
        records = self.records
        # Noted in the transaction that creates: a crash leaves neither.
        noted = self.words.sql(
            sa.update(RUN)
            .where(*records.under_way, RUN.c.facts == self.words.value("{}"))
            .values(facts=sa.literal_column(facts))
        )
        statements = [*records.ensure(), *records.start({}), noted, *self.creation(), records.finish()]
        yield ";\n".join(["BEGIN", *statements, "COMMIT"]) + ";"
        yield "\n".join(f"RESET {name};" for name in _SETTINGS)

    def abandon(self) -> Iterator[str]:
        """Children first; a table that holds rows stays, and its parents with it."""
        yield _SET
        records, lines = self.records, []
        created = self.words.sql(
            sa.select(sa.func.count())
            .select_from(RUN)
            .where(*records.in_force("adopt"), sa.literal_column("facts::jsonb -> 'created' ? mgr_name"))
        )
        for name in reversed(self.tables):
            there = f"to_regclass({literal(quote(name))}) IS NOT NULL"
            drop = f"DROP TABLE {quote(name)};"
            if not self.drop:
                drop = (
                    f"IF EXISTS (SELECT FROM {quote(name)}) THEN\n  mgr_stay := true;\n"
                    f"  RAISE WARNING 'table % stays: it holds rows', mgr_name;\nELSE\n  {drop}\nEND IF;"
                )
            lines += [
                f"mgr_name := {literal(name)};",
                f"IF NOT mgr_stay AND {there} AND ({created}) > 0 THEN",
                indent(drop, "  "),
                "END IF;",
            ]
        drops = ";\n".join(records.dropped()) + ";"
        lines += [
            f"{records.undone('adopt')};",
            f"IF {records.left} = 0 THEN\n{indent(drops, '  ')}\nEND IF;",
        ]
        there = f"to_regclass({literal(RUN.name)}) IS NOT NULL"
        whole = indent("\n".join(lines), "  ")
        yield block(["mgr_name text;", "mgr_stay boolean := false;"], f"IF {there} THEN\n{whole}\nEND IF;")
        yield "\n".join(f"RESET {name};" for name in _SETTINGS)
