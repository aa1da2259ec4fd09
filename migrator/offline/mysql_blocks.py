"""Stored procedures: made, called and dropped again; the only place where MySQL has loops and conditions."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from migrator.dialects.mysql_definition import literal, quote

# As many attempts in a row as an online sweep makes before it gives a batch up.
_ATTEMPTS = 12
#: Where a procedure leaves the reason for which it stopped before the first change.
REFUSAL = "@migrator_refusal"
ASSERT = "migrator_assert"


def statement(text: str) -> str:
    """A statement as the client reads it: one with a semicolon inside needs another delimiter."""
    if ";" not in text:
        return f"{text};"
    mark = "//"
    while mark in text:
        mark += "/"
    return f"DELIMITER {mark}\n{text}{mark}\nDELIMITER ;"


def statements(*texts: str) -> str:
    """Several."""
    return "\n".join(map(statement, texts))


def together(*texts: str) -> str:
    """Several in one transaction."""
    return statements("START TRANSACTION", *texts, "COMMIT")


def procedure(name: str, variables: Sequence[str], *lines: str) -> str:
    """Make a procedure, call it, drop it.

    Args:
        variables: their declarations.
        lines: its statements.
    """
    declared = "".join(f"  DECLARE {variable};\n" for variable in variables)
    text = f"CREATE PROCEDURE {quote(name)}()\nBEGIN\n{declared}{indent(chr(10).join(lines), '  ')}\nEND"
    return statements(f"DROP PROCEDURE IF EXISTS {quote(name)}", text, f"CALL {quote(name)}()", drop(name))


def drop(name: str) -> str:
    """Drop a procedure."""
    return f"DROP PROCEDURE {quote(name)}"


def make_assert() -> str:
    """The procedure by which a script stops. One that stopped leaves it behind; the next begins with it."""
    text = (
        f"CREATE PROCEDURE {quote(ASSERT)}(IN holds BOOLEAN, IN message VARCHAR(500))\nBEGIN\n"
        "  IF holds IS NOT TRUE THEN\n"
        "    SET message = LEFT(CONCAT('migrator: ', message), 128);\n"
        "    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = message;\n  END IF;\nEND"
    )
    return statements(f"DROP PROCEDURE IF EXISTS {quote(ASSERT)}", text)


def unless(condition: str, message: str) -> str:
    """Stop where a condition does not hold."""
    return statement(f"CALL {quote(ASSERT)}(({condition}), {literal(message)})")


def unless_refused() -> str:
    """Stop where a procedure has said no."""
    return statement(f"CALL {quote(ASSERT)}({REFUSAL} IS NULL, {REFUSAL})")


def signal(message: str) -> str:
    """Stop, inside a procedure."""
    return f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {literal(('migrator: ' + message)[:128])};"


def batches(page: str, work: str, after: str, pause_ms: int) -> str:
    """Rounds until a page is empty, in a procedure. A round that meets a lock or a deadlock is undone and
    tried again, a number of times in a row, with nothing held while waiting.

    Args:
        page: finds the next page and leaves the loop `rounds` when there is none.
        work: settles it, inside a transaction; it may `LEAVE round` after ROLLBACK to try again.
        after: what to remember once it is committed.
        pause_ms: rest between two rounds.
    """
    rest = f"\n    DO SLEEP({pause_ms / 1000:g});" if pause_ms else ""
    return f"""\
SET mgr_failures = 0;
rounds: LOOP
{indent(page, "  ")}
  SET mgr_failed = TRUE;
  round: BEGIN
    DECLARE EXIT HANDLER FOR 1020, 1205, 1213
    BEGIN
      ROLLBACK;
      IF mgr_failures + 1 >= {_ATTEMPTS} THEN
        RESIGNAL;
      END IF;
    END;
    START TRANSACTION;
{indent(work, "    ")}
    COMMIT;
    SET mgr_failed = FALSE;
  END round;
  IF mgr_failed THEN
    SET mgr_failures = mgr_failures + 1;
    IF mgr_failures >= {_ATTEMPTS} THEN
      {signal("a batch could not be settled; others change the same rows")}
    END IF;
    DO SLEEP(LEAST(0.1 * POW(2, mgr_failures), 5));
  ELSE
    SET mgr_failures = 0;
{indent(after, "    ")}{rest}
  END IF;
END LOOP rounds;"""


BATCH_VARIABLES = ("mgr_failures INT DEFAULT 0", "mgr_failed BOOLEAN DEFAULT FALSE")


def into(query: str, names: str) -> str:
    """A SELECT whose one row goes into variables."""
    head, _, tail = query.partition("\nFROM")
    return f"{head} INTO {names}\nFROM{tail};"


def read(expression: str, name: str) -> str:
    """An expression that reads tables of the user's, into a variable.

    Only SELECT reads without locks: in SET, IF and CALL the same subquery takes a shared lock on every row it
    comes by, READ COMMITTED or not, waits for whoever writes one, and holds writers up meanwhile (measured on
    MySQL 9.7 and MariaDB 11.8).
    """
    return f"SELECT {expression} INTO {name};"
