"""Several references swept as one set: deleting a post orphans its replies through a reference of their own,
so the references are taken in the order of what refers to what, and again until nothing changes.

Each sweep is a run of its own in the journal, with the round it belongs to. So a set that was stopped goes on
in the round it was in, and what was done in which round is known afterwards.

Back again, the rows of all references come back together, before the sweeps are taken back one by one: a row
that one sweep removed may be the parent of what another did, and a row that one made may have been changed
by another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from migrator import journal, lock, quarantine
from migrator.context import Context, Progress, Silent
from migrator.errors import Refused, StepFailed, UsageError
from migrator.journal import SET, Run
from migrator.mirror import CHANGED
from migrator.operate import Policies, operate, translate
from migrator.plan import INVERSE
from migrator.reference import Reference
from migrator.restore import restore_mirror
from migrator.restore_all import removed_back
from migrator.sessions import Sessions
from migrator.settings import Settings, resolve
from migrator.stopping import Gate, stoppable
from migrator.turning import check_finished, in_force, standing_on

# Every round removes rows, or is the last; more than this is somebody who writes orphans as we go, or two
# policies that undo each other.
_ROUNDS = 1000


@dataclass(frozen=True)
class SetSwept:
    """What was done.

    Args:
        order: the references in the order they are taken.
        rounds: for each round, how many orphans of each reference were settled in it. The last round found
            nothing to do.
    """

    order: tuple[Reference, ...] = ()
    rounds: tuple[Mapping[Reference, int], ...] = ()

    @property
    def changed(self) -> int:
        """Orphans settled, over all."""
        return sum(sum(counts.values()) for counts in self.rounds)


def sweep_together(
    references: Sequence[Reference],
    policies: Callable[[Reference], Policies],
    *,
    bind: Engine | Connection,
    settings: Settings | None = None,
    progress: Progress | None = None,
    heads: Sequence[str] | None = None,
) -> SetSwept:
    """Sweep several references, round after round, until none of them has an orphan.

    Args:
        references: in any order.
        policies: what to do with the orphans of each.
        bind: the database.
        settings: those in force; by default the environment's.
        progress: whom to tell.
        heads: inside Alembic: where it believes the database to be.

    Raises:
        MigratorError: as a single sweep. A refusal comes before the first change of its own reference in
            that round; what was done before stands, and `restore_together` takes it back.
    """
    order, told, settings = in_order(references), progress or Silent(), settings or resolve()
    sessions = Sessions.of(bind, settings)
    try:
        with lock.hold(sessions):
            with sessions.open() as connection:
                for reference in order:
                    check_finished(journal.runs_if_any(connection, reference), heads)
            number, done = where(_rounds(sessions, order), order)
            while True:
                for reference in order:
                    if reference not in done:
                        mark = {SET: {"references": [str(one) for one in order], "round": number}}
                        operate(
                            bind,
                            "sweep",
                            reference,
                            policies=policies(reference),
                            settings=settings,
                            progress=progress,
                            heads=heads,
                            facts=mark,
                        )
                rounds = _rounds(sessions, order)
                settled = ", ".join(f"{count} of {reference}" for reference, count in rounds[number].items())
                told.note(f"round {number}: {settled}")
                if not any(rounds[number].values()):
                    return SetSwept(order, tuple(rounds[each] for each in sorted(rounds)))
                if number >= _ROUNDS:
                    raise StepFailed(
                        f"Orphans of {', '.join(map(str, order))} appear as fast as they are swept "
                        f"({_ROUNDS} rounds).",
                        hint="Look whether one policy makes what another removes, then run this again.",
                    )
                number, done = number + 1, frozenset()
    finally:
        sessions.close()


def restore_together(
    references: Sequence[Reference],
    *,
    bind: Engine | Connection,
    settings: Settings | None = None,
    progress: Progress | None = None,
    heads: Sequence[str] | None = None,
) -> None:
    """The inverse of `sweep_together`; arguments as there.

    Raises:
        Refused: outside Alembic, where one of the references is enforced or validated still.
    """
    backwards, settings = in_order(references)[::-1], settings or resolve()
    sessions = Sessions.of(bind, settings)
    try:
        with lock.hold(sessions) as check:
            for reference in backwards:
                with sessions.open() as connection:
                    later = standing_on(journal.runs_if_any(connection, reference), "sweep")
                for operation in later:
                    if heads is None:
                        raise Refused(
                            f"The sweep of {reference} cannot be taken back while its {operation} stands.",
                            hint=f"Call {INVERSE[operation]}_reference first; nothing was changed now.",
                        )
                    inverse = INVERSE[operation]
                    operate(bind, inverse, reference, settings=settings, progress=progress, heads=heads)
            _rows_back(sessions, backwards, progress or Silent(), heads, check)
            for reference in backwards:
                operate(bind, "restore", reference, settings=settings, progress=progress, heads=heads)
    except sa.exc.DBAPIError as error:
        raise translate(sessions.dialect.verdict(error), error) from error
    finally:
        sessions.close()


def in_order(references: Sequence[Reference]) -> tuple[Reference, ...]:
    """Those first whose child is the parent of others. In a circle there is no first one: any does, and the
    rounds do the rest.

    Raises:
        UsageError: there is no reference at all.
    """
    if not references:
        raise UsageError("A set of references wants at least one.")
    found: list[Reference] = []
    begun: set[str] = set()

    def take(reference: Reference) -> None:
        if str(reference) in begun:
            return
        begun.add(str(reference))
        for other in references:
            if other.child == reference.parent:
                take(other)
        found.append(reference)

    for reference in references:
        take(reference)
    return tuple(found)


def _rows_back(
    sessions: Sessions,
    backwards: Sequence[Reference],
    progress: Progress,
    heads: Sequence[str] | None,
    check: Callable[[], None],
) -> None:
    """What was removed comes back, again while that brings some back, then what was changed. The restore of
    each reference is journaled as begun before: an upgrade that comes between is told to wait for its end."""
    runs: list[Run] = []
    with sessions.open() as connection:
        for reference in backwards:
            found = journal.runs_if_any(connection, reference)
            if in_force(found, "sweep"):
                definition = next(run.reference for run in reversed(found) if run.operation == "sweep")
                run = journal.start(connection, definition, "restore", {})
                journal.record(connection, run, facts={**run.facts, "heads": sorted(heads or ())})
                runs.append(run)
    if not runs:
        return
    with stoppable() as stop:
        gate = Gate(sessions, runs[0], stop, check, progress)
        context = Context(sessions, runs[0].reference, runs[0], progress, gate)
        with sessions.work() as connection:
            mirrors = [each for run in runs for each in quarantine.mirrors(connection, run.reference)]
            size = sessions.first_batch(connection)
        try:
            removed_back(context, mirrors, size)
            for mirror in mirrors:
                restore_mirror(context, mirror, size, CHANGED)
            gate.signalled()
        except BaseException as error:
            with sessions.open() as connection:
                for run in runs:
                    journal.finish(connection, run, "interrupted", str(error) or type(error).__name__)
            raise


def _rounds(sessions: Sessions, order: Sequence[Reference]) -> dict[int, dict[Reference, int]]:
    with sessions.open() as connection:
        return rounds_of(journal.runs_if_any(connection), order)


def rounds_of(runs: Iterable[Run], order: Sequence[Reference]) -> dict[int, dict[Reference, int]]:
    """What the sweeps of this set, those in force, have settled: by round, then by reference."""
    by_text = {str(reference): reference for reference in order}
    found: dict[int, dict[Reference, int]] = {}
    for run in runs:
        mark = run.facts.get(SET, {})
        if run.operation == "sweep" and run.state == "done" and mark.get("references") == list(by_text):
            counts = found.setdefault(int(mark["round"]), {})
            counts[by_text[str(run.reference)]] = int(run.counts.get("changed", 0))
    return found


def where(
    rounds: Mapping[int, Mapping[Reference, int]], order: Sequence[Reference]
) -> tuple[int, frozenset[Reference]]:
    """The round to go on in, and the references that are done in it."""
    last = max(rounds, default=0)
    done = frozenset(rounds.get(last, ()))
    return (last, done) if done and done != frozenset(order) else (last + 1, frozenset())
