"""Reads foreign keys, from both ends.

Which keys refer to a table is known without looking at every other table only to MySQL. MariaDB's
information_schema opens them all, so InnoDB's own list is asked first, where names and privileges permit.

Source: https://mariadb.com/kb/en/information-schema-innodb_sys_foreign-table/ and our measurements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import ForeignKey
from migrator.dialects.mysql_definition import actions_of, quote
from migrator.reference import TableName

Record = Sequence[Any]

# Two queries, not a join: for a join MariaDB opens every table of every database, constants or not.
_KEYS = """
    SELECT constraint_schema, table_name, constraint_name, column_name,
           referenced_table_schema, referenced_table_name, referenced_column_name
      FROM information_schema.key_column_usage
     WHERE {where} AND referenced_table_name IS NOT NULL
     ORDER BY constraint_schema, table_name, constraint_name, ordinal_position"""
_OF_TABLE = "table_schema = :database AND table_name = :name"
_TO_TABLE = "referenced_table_schema = :database AND referenced_table_name = :name"
_RULES = """
    SELECT table_name, constraint_name, delete_rule, update_rule
      FROM information_schema.referential_constraints
     WHERE constraint_schema = :database AND table_name = :name"""
_INNODB = "SELECT for_name FROM information_schema.innodb_sys_foreign WHERE ref_name = :name"

# InnoDB writes any other character as @ and four hexadecimal digits, or shorter ones of its own.
_PLAIN = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Keys:
    """The foreign keys of one server, as one connection sees them.

    Args:
        connection: any connection to the server.
        mariadb: whether it is MariaDB.
        database: the current database.
        fold: how this server compares table names.
    """

    connection: Connection
    mariadb: bool
    database: str | None
    fold: Callable[[str], str]

    def of(self, database: str, stored: str, child: TableName) -> Iterator[ForeignKey]:
        """The keys of a table.

        Args:
            database, stored: where it is.
            child: how it is called in the answer.
        """
        found = [rows for rows in self._constraints(_OF_TABLE, database, stored) if str(rows[0][1]) == stored]
        rules = self._rules(database, stored) if found else {}
        for rows in found:
            yield _key(rows, rules, child, self._named(str(rows[0][4]), str(rows[0][5])))

    def inbound(self, database: str, stored: str, parent: TableName) -> Iterator[ForeignKey]:
        """The keys that refer to a table, of any database.

        Args:
            database, stored: where it is.
            parent: how it is called in the answer.
        """
        children = self._children(database, stored)
        if children is None:
            found = self._constraints(_TO_TABLE, database, stored)
        else:
            found = [rows for child in children for rows in self._constraints(_OF_TABLE, *child)]
        here = (self.fold(database), self.fold(stored))
        for rows in found:
            if (self.fold(str(rows[0][4])), self.fold(str(rows[0][5]))) == here:
                rules = self._rules(str(rows[0][0]), str(rows[0][1]))
                yield _key(rows, rules, self._named(str(rows[0][0]), str(rows[0][1])), parent)

    def _children(self, database: str, stored: str) -> list[tuple[str, str]] | None:
        """The tables that refer to a table; None where InnoDB cannot be asked or be understood."""
        if not self.mariadb or not (_PLAIN.fullmatch(database) and _PLAIN.fullmatch(stored)):
            return None
        try:
            rows = self.connection.execute(sa.text(_INNODB), {"name": f"{database}/{stored}"}).all()
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return None
        names = [str(row[0]).split("/") for row in rows]
        if not all(len(name) == 2 and all(map(_PLAIN.fullmatch, name)) for name in names):
            return None
        return sorted({(name[0], name[1]) for name in names})

    def _constraints(self, where: str, database: str, name: str) -> list[list[Record]]:
        query = sa.text(_KEYS.format(where=where))
        rows: Iterable[Record] = self.connection.execute(query, {"database": database, "name": name}).all()
        return [list(group) for _, group in groupby(rows, key=lambda row: tuple(row[:3]))]

    def _rules(self, database: str, name: str) -> dict[str, tuple[str, str]]:
        """ON DELETE and ON UPDATE of a table's keys, by their names."""
        rows = self.connection.execute(sa.text(_RULES), {"database": database, "name": name}).all()
        found = {str(row[1]): (str(row[2]), str(row[3])) for row in rows if str(row[0]) == name}
        return found if found or not self.mariadb else self._stated_rules(database, name)

    def _stated_rules(self, database: str, name: str) -> dict[str, tuple[str, str]]:
        """MariaDB lists a key to an account that may only read its table, but not the key's actions; the
        table's text has them."""
        statement = f"SHOW CREATE TABLE {quote(database)}.{quote(name)}"
        try:
            row = self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True}).one()
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return {}
        return actions_of(str(row[1]))

    def _named(self, database: str, name: str) -> TableName:
        """A table of another database keeps its database; one of ours stays portable without."""
        ours = self.database is not None and self.fold(database) == self.fold(self.database)
        return TableName(name, None if ours else database)


def _key(
    rows: Sequence[Record], rules: Mapping[str, tuple[str, str]], child: TableName, parent: TableName
) -> ForeignKey:
    name = str(rows[0][2])
    # What is not told is taken to be what costs rows.
    on_delete, on_update = rules.get(name, ("CASCADE", "CASCADE"))
    return ForeignKey(
        name=name,
        child=child,
        columns=tuple(str(row[3]) for row in rows),
        parent=parent,
        parent_columns=tuple(str(row[6]) for row in rows),
        on_delete=on_delete,
        on_update=on_update,
    )
