"""What SQLite's scripts are made of: statements, and checks that undo everything when they fail.

The shell has neither loops nor conditions, so a script is one transaction in which nobody else writes; a
question that is answered wrongly breaks a CHECK constraint whose name says what is wrong, and OR ROLLBACK
ends the transaction. What a loop does row by row online, a temporary trigger does here.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.dialects.sqlite_statement import Statement, terminated
from migrator.dialects.sqlite_tokens import quote_text
from migrator.offline.words import comment


def printed(*statements: str) -> str:
    """Statements as the shell reads them."""
    return "\n".join(map(terminated, statements))


def purposeful(statements: Iterable[Statement]) -> list[str]:
    """Statements of a rebuild, each under its purpose."""
    return [f"{comment(statement.purpose)}\n{printed(*statement.as_sql())}" for statement in statements]


def refuse_if(condition: str, message: str) -> str:
    """Undo everything and stop where a condition holds."""
    return printed(*Statement(f"SELECT 1 WHERE {condition}", "", message).as_sql())


def refuse_unless_table(name: str, message: str) -> str:
    """Undo everything and stop where a table is missing."""
    return refuse_if(
        f"(SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = {quote_text(name)}) = 0",
        message,
    )
