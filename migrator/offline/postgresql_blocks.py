"""DO blocks: the frame, a refusal, and a loop whose rounds commit one by one and give way to locks."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from migrator.dialects.pg_words import body, literal

# As many attempts in a row as an online sweep makes before it gives a batch up.
_ATTEMPTS = 12


def block(variables: Sequence[str], *lines: str) -> str:
    """A DO block, outside any transaction.

    Args:
        variables: their declarations.
        lines: its statements.
    """
    declared = "DECLARE\n" + indent("\n".join(variables), "  ") + "\n" if variables else ""
    # A column in a user's expression may be called as a variable is: `found` is one of every block's.
    text = f"\n#variable_conflict use_column\n{declared}BEGIN\n{indent(chr(10).join(lines), '  ')}\nEND\n"
    return f"DO {body(text)};"


def refusal(message: str, hint: str = "", detail: str = "") -> str:
    """Stop here.

    Args:
        message: in plain words.
        hint: how to go on.
        detail: an expression.
    """
    more = (f", DETAIL = {detail}" if detail else "") + (f", HINT = {literal(hint)}" if hint else "")
    return f"  RAISE EXCEPTION USING MESSAGE = {literal('migrator: ' + message)}{more};"


def unless(condition: str, message: str, hint: str = "", detail: str = "") -> str:
    """Stop where a condition does not hold."""
    return f"IF ({condition}) IS NOT TRUE THEN\n{refusal(message, hint, detail)}\nEND IF;"


def batches(page: str, work: str, after: str, pause_ms: int) -> str:
    """Rounds until a page is empty. A round that meets a lock or a deadlock is undone and tried again, a
    number of times in a row; a subtransaction gives its locks back, and nothing is held while waiting.

    Args:
        page: finds the next page and leaves the loop when there is none.
        work: settles it.
        after: what to remember once it is committed.
        pause_ms: rest between two rounds.
    """
    rest = f"\n    PERFORM pg_sleep({pause_ms / 1000:g});" if pause_ms else ""
    return f"""\
mgr_failures := 0;
LOOP
{indent(page, "  ")}
  mgr_failed := false;
  BEGIN
{indent(work, "    ")}
  EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
    mgr_failed := true;
    mgr_failures := mgr_failures + 1;
    IF mgr_failures >= {_ATTEMPTS} THEN
      RAISE;
    END IF;
  END;
  COMMIT;
  IF mgr_failed THEN
    PERFORM pg_sleep(least(0.1 * 2 ^ mgr_failures, 5));
  ELSE
    mgr_failures := 0;
{indent(after, "    ")}{rest}
  END IF;
END LOOP;"""


BATCH_VARIABLES = ("mgr_failures integer;", "mgr_failed boolean;")
