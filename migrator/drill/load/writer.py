"""One of the application's processes: it writes and reads until its standard input is closed.

Started by the drill with JSON in the first line of its standard input: the URL, with its password, is on no
command line. It answers `ready`, and in the end with one line of JSON: what it did and which rows it wrote.
If the drill dies, its end of the pipe is closed and the process ends as well.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.connect import make_engine
from migrator.dialects import Dialect, dialect_of
from migrator.dialects.violations import violated
from migrator.drill.load.watch import CLASH, DONE, ERROR, REFUSED, RETRIED, Operation
from migrator.drill.load.work import Action, Work
from migrator.errors import MigratorError
from migrator.reference import Reference
from migrator.saying import driver_says
from migrator.settings import database_url

#: A pause between two operations, in seconds: an application waits for people; a loop without one would
#: measure how the processors are shared and not what a migration holds up.
_THINK: Final = 0.008

_RETRY: Final = ("lock-timeout", "deadlock", "retry", "lost")


def main() -> None:
    """The process."""
    order = json.loads(sys.stdin.readline())
    stopping = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(stopping,), daemon=True).start()
    engine = make_engine(database_url(order["url"]))
    chance = random.Random(order["number"])
    references = [Reference.from_json(one) for one in order["references"]]
    done: list[Operation] = []
    works: list[Work] = []
    try:
        with engine.connect() as first:
            connection = first.execution_options(isolation_level="AUTOCOMMIT")
            dialect = dialect_of(connection.dialect)
            if dialect.family == "sqlite":
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            works = _works(connection, dialect, references, chance, harmless=order["harmless"])
            _say("ready")
            actions = [(work, action) for work in works for action in work.actions()]
            weights = [action.weight for _, action in actions]
            while actions and not stopping.is_set():
                ((work, action),) = chance.choices(actions, weights)
                done.append(_timed(connection, dialect, work, action))
                stopping.wait(_THINK * 2 * chance.random())
    finally:
        engine.dispose()
    written = [asdict(row) for work in works for row in work.written]
    _say(json.dumps({"operations": [asdict(one) for one in done], "written": written}))


def _works(
    connection: Connection,
    dialect: Dialect,
    references: Sequence[Reference],
    chance: random.Random,
    *,
    harmless: bool,
) -> list[Work]:
    found = []
    for place, reference in enumerate(references):
        try:
            facts = dialect.facts(connection, reference)
        except MigratorError:  # a revision on the way makes the table
            continue
        found.append(Work(connection, dialect, facts, place, chance, harmless=harmless))
    return found


def _timed(connection: Connection, dialect: Dialect, work: Work, action: Action) -> Operation:
    began, clock = time.time(), time.perf_counter()
    outcome, said = DONE, ""
    work.begin()
    try:
        with dialect.transaction(connection):
            action.do()
        work.commit()
    except sa.exc.DBAPIError as error:
        outcome, said = _judged(dialect, action, error), driver_says(error)
        connection.rollback()  # a connection that was lost is made anew after this only
    return Operation(began, time.perf_counter() - clock, f"{action.name} ({work.label})", outcome, said)


def _judged(dialect: Dialect, action: Action, error: sa.exc.DBAPIError) -> str:
    rule = violated(error)
    if rule and action.wrong:
        return REFUSED
    if rule == "unique":
        return CLASH
    return RETRIED if dialect.verdict(error) in _RETRY else ERROR


def _say(line: Any) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _wait_for_the_end(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()


if __name__ == "__main__":
    main()
