"""Adoption and its inverse for the mysql and mariadb clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import indent

import sqlalchemy as sa

from migrator.dialects.mysql_definition import literal, quote
from migrator.journal import RUN
from migrator.offline.adoption import Adoption
from migrator.offline.mysql_blocks import ASSERT, drop, make_assert, procedure, statements, unless
from migrator.offline.mysql_checks import idle_lines


class Adopting(Adoption):
    """The form of MySQL and MariaDB."""

    def adopt(self) -> Iterator[str]:
        """What is there is looked at and noted before anything is created."""
        yield make_assert()
        for table, column in self.wanted():
            there = f"table_schema = DATABASE() AND table_name = {literal(table)}"
            yield unless(
                f"(SELECT COUNT(*) FROM information_schema.tables WHERE {there}) = 0 OR (SELECT COUNT(*) "
                f"FROM information_schema.columns WHERE {there} AND column_name = {literal(column)}) > 0",
                f"table {table} has no column {column}",
            )
        records = self.records
        yield statements(*records.ensure())
        names = " UNION ALL ".join(
            f"SELECT {literal(name)} AS name, {literal(json.dumps(name))} AS quoted"
            for name in sorted(self.tables)
        )
        listed = (
            "IFNULL((SELECT GROUP_CONCAT(t.quoted ORDER BY t.name SEPARATOR ', ') FROM ({names}) AS t WHERE "
            "(SELECT COUNT(*) FROM information_schema.tables AS i WHERE i.table_schema = DATABASE() "
            "AND i.table_name = t.name) {count}), '')"
        )
        facts = (
            f"""CONCAT('{{"adopted": [', {listed.format(names=names, count="> 0")}, """
            f"""'], "created": [', {listed.format(names=names, count="= 0")}, ']}}')"""
        )
        noted = self.words.sql(
            sa.update(RUN)
            .where(*records.under_way, RUN.c.facts == self.words.value("{}"))
            .values(facts=sa.literal_column(facts))
        )
        # Noted before the first CREATE TABLE, which commits: a crash keeps it true.
        yield statements(*records.start({}), noted, *self.creation(), records.finish(), drop(ASSERT))

    def abandon(self) -> Iterator[str]:
        """Children first; a table that holds rows stays, and its parents with it."""
        records = self.records
        lines: list[str] = []
        for name in reversed(self.tables):
            created = self.words.sql(
                sa.select(sa.func.count())
                .select_from(RUN)
                .where(
                    *records.in_force("adopt"),
                    sa.literal_column(
                        f"JSON_CONTAINS(JSON_EXTRACT(facts, '$.created'), {literal(json.dumps(name))})"
                    ),
                )
            )
            there = (
                "(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() "
                f"AND table_name = {literal(name)}) > 0"
            )
            gone = f"DROP TABLE {quote(name)};"
            if not self.drop:
                rows = f"(SELECT COUNT(*) FROM (SELECT 1 FROM {quote(name)} LIMIT 1) AS t) > 0"
                gone = f"IF {rows} THEN\n  SET mgr_stay = TRUE;\nELSE\n  {gone}\nEND IF;"
            lines.append(
                f"IF NOT mgr_stay AND {there} AND ({created}) > 0 THEN\n{indent(gone, '  ')}\nEND IF;"
            )
        lines += [f"{records.undone('adopt')};", idle_lines(records)]
        journal = (
            "(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() "
            f"AND table_name = {literal(RUN.name)}) > 0"
        )
        whole = indent("\n".join(lines), "  ")
        yield procedure(
            "migrator_abandon", ["mgr_stay BOOLEAN DEFAULT FALSE"], f"IF {journal} THEN\n{whole}\nEND IF;"
        )
