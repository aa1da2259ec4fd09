"""What an account may do, read from SHOW GRANTS. Pure but for the two functions that ask.

`information_schema` has the same in tables, but without the privileges of roles. Privileges on single
columns count as none: every statement of ours is about whole rows.

Source: https://dev.mysql.com/doc/refman/8.4/en/show-grants.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_NAME = r"(?:`(?:[^`]|``)*`|\*|[^\s.`]+)"
_GRANT = re.compile(rf"(GRANT|REVOKE) (.+?) ON (?:TABLE )?({_NAME})\.({_NAME}) (?:TO|FROM) ", re.DOTALL)
_COLUMNS = re.compile(r"\w[\w ]* \([^)]*\),?")


@dataclass(frozen=True)
class Grants:
    """Privileges by where they hold.

    Args:
        given: (database pattern, table, privileges); `*` is all. A pattern is LIKE's.
        revoked: the same for MySQL's partial revokes, whose databases are no patterns.
    """

    given: tuple[tuple[str, str, frozenset[str]], ...]
    revoked: tuple[tuple[str, str, frozenset[str]], ...] = ()

    def allow(self, privilege: str, database: str, table: str | None = None) -> bool:
        """Whether the account has it on a table; without one, on the whole database."""
        if any(name == database and privilege in words for name, _, words in self.revoked):
            return False
        return any(
            ({privilege, "ALL PRIVILEGES", "ALL"} & words)
            and _matches(pattern, database)
            and (name == "*" or name == table)
            for pattern, name, words in self.given
        )

    def everywhere(self, *privileges: str) -> bool:
        """Whether the account has one of these on the whole server."""
        wanted = {*privileges, "ALL PRIVILEGES", "ALL"}
        return any(pattern == name == "*" and wanted & words for pattern, name, words in self.given)


def parse(lines: Iterable[str]) -> Grants:
    """Read the lines of SHOW GRANTS; those that grant a role or a proxy say nothing of privileges."""
    given: list[tuple[str, str, frozenset[str]]] = []
    revoked: list[tuple[str, str, frozenset[str]]] = []
    for line in lines:
        match = _GRANT.match(line)
        if match is None:
            continue
        words = _COLUMNS.sub("", match.group(2))
        privileges = frozenset(word.strip().upper() for word in words.split(",") if word.strip())
        found = (_unquoted(match.group(3)), _unquoted(match.group(4)), privileges)
        (given if match.group(1) == "GRANT" else revoked).append(found)
    return Grants(tuple(given), tuple(revoked))


def account(connection: Connection) -> str:
    """The account we are, as GRANT wants it written."""
    user, _, host = str(connection.scalar(sa.text("SELECT CURRENT_USER()"))).rpartition("@")
    return f"'{user}'@'{host}'"


def grants(connection: Connection) -> Grants | None:
    """The privileges of this session, its active roles included; None where the server will not tell."""
    try:
        lines = [str(row[0]) for row in connection.exec_driver_sql("SHOW GRANTS").all()]
        role = connection.scalar(sa.text("SELECT CURRENT_ROLE()"))
        if role and str(role).upper() != "NONE":
            mariadb = getattr(connection.dialect, "is_mariadb", False)
            # MariaDB answers with the current role's privileges already, MySQL only when asked.
            using = "SHOW GRANTS" if mariadb else f"SHOW GRANTS FOR CURRENT_USER() USING {role}"
            statement = connection.exec_driver_sql(using, execution_options={"no_parameters": True})
            lines += [str(row[0]) for row in statement.all()]
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return None
    return parse(lines)


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _matches(pattern: str, database: str) -> bool:
    """LIKE: `%` and `_` are wild, a backslash takes that away."""
    expression = ""
    characters = iter(pattern if pattern != "*" else "%")
    for character in characters:
        if character == "\\":
            expression += re.escape(next(characters, "\\"))
        else:
            expression += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.fullmatch(expression, database, re.DOTALL) is not None
