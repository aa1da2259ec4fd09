"""`migrator quarantine restore`: rows put back by hand, some or all, whether or not the reference stands.

An orphan cannot come back while the foreign key stands; a row whose parent is there by now can. What does
not come back stays in quarantine and is told apart: blocked by the reference, or in conflict with a row of
today.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import journal, lock, quarantine
from migrator.batches import BatchSize
from migrator.catalog import Facts
from migrator.context import Context, Progress, Silent
from migrator.dialects import Dialect
from migrator.errors import Refused
from migrator.mirror import CHANGED, CREATED, DELETED, ID, SUPERSEDED, Mirror
from migrator.operate import translate
from migrator.predicate import none_null, parent_exists
from migrator.quarantined.conflicts import Conflict, conflicts, count
from migrator.quarantined.holdings import Holding, Selection, holdings, nothing_selected
from migrator.quarantined.run import PUT_BACK, by_hand
from migrator.reference import TableName
from migrator.restore import mark, restore_mirror, waiting
from migrator.restore_all import remove_parents, remove_sentinels, removed_back
from migrator.sessions import Sessions

OnConflict = Literal["report", "skip", "newest"]

#: Conflicts settled in one transaction.
_CONFLICTS = 500
_PUT_BACK = (DELETED, CHANGED)


@dataclass(frozen=True)
class Outcome:
    """What became of the selected rows.

    Args:
        restored: back in their table.
        superseded: settled: the application's newer row stands (`newest`).
        blocked: orphans still, which the standing reference would refuse.
        conflicts: how many stay because of a row, or the lack of one, of today.
        listed: these, as far as they were asked for.
        dropped: mirrors that are empty now and gone with the migration they belonged to.
        parents: parents that a policy had created, gone again, sentinels among them.
    """

    restored: int = 0
    superseded: int = 0
    blocked: int = 0
    conflicts: int = 0
    listed: tuple[Conflict, ...] = ()
    dropped: tuple[str, ...] = ()
    parents: int = 0


def restore(
    sessions: Sessions,
    selection: Selection,
    *,
    on_conflict: OnConflict = "report",
    leave_out: frozenset[str] = frozenset(),
    limit: int = 100,
    progress: Progress | None = None,
) -> Outcome:
    """Put the selected rows back, in batches, under the run lock. Never overwrites.

    The batches follow the same settings, throttles, signals and `migrator pause` as a sweep's. What is still
    in quarantine is what is left to do: killed anywhere, the same call goes on.

    Args:
        on_conflict: `report` lists what could not come back; `skip` leaves it without a word; `newest`
            settles it where the application has a newer version of that very row, which stands.
        leave_out: columns their table has lost and whose values are given up.
        limit: how many conflicts to list with both versions.
        progress: whom to tell.

    Raises:
        Refused: every selected row is an orphan still and the reference stands; nothing was changed.
        UsageError: the selection means no row.
        RunLocked: a run is at work.
        Interrupted, Stopped: stopped after a batch by a signal, a lock or a lost connection.
    """
    told = progress or Silent()
    try:
        with lock.hold(sessions) as check:
            with sessions.open() as connection:
                found = holdings(connection, selection.references)
                if not _anything(connection, found, selection):
                    # An earlier call may have died after its last batch, or while it cleared away.
                    dropped = drop_settled(connection, sessions.dialect, found)
                    if not dropped and not _all_back(connection, found, selection):
                        raise nothing_selected(found)
                    return Outcome(dropped=dropped)
                guards = {of.mirror.name: _guard(connection, sessions.dialect, of) for of in found}
            with by_hand(sessions, PUT_BACK, found[0].reference, check, told) as context:
                work = _Work(context, selection, found, guards, leave_out)
                outcome = work.all_of_it(on_conflict, limit)
            with sessions.open() as connection:
                return replace(outcome, dropped=drop_settled(connection, sessions.dialect, found))
    except sa.exc.DBAPIError as error:
        raise translate(sessions.dialect.verdict(error), error) from error


def drop_settled(connection: Connection, dialect: Dialect, found: Sequence[Holding]) -> tuple[str, ...]:
    """Drop the mirrors with nothing left in them whose migration was taken back, and the journal when
    nothing is left to take back at all. Returns their names."""
    gone: list[str] = []
    for holding in found:
        if not holding.in_force and not quarantine.held(connection, holding.mirror):
            quarantine.drop(connection, dialect, holding.mirror)
            gone.append(holding.mirror.name.name)
    if len(gone) == len(found):
        journal.drop_if_idle(connection)
    return tuple(gone)


@dataclass(frozen=True)
class _Guard:
    """What a standing reference refuses.

    Args:
        foreign_key: its name; None where none stands.
        not_null: whether NULL is refused.
    """

    reference: Holding
    foreign_key: str | None = None
    not_null: bool = False

    def passes(self, kept: sa.FromClause) -> list[ColumnElement[bool]]:
        """The conditions on quarantined rows that may come back."""
        reference = self.reference.reference
        found: list[ColumnElement[bool]] = []
        if self.not_null:
            found.append(none_null(reference, kept))
        if self.foreign_key is not None:
            found.append(sa.or_(~none_null(reference, kept), parent_exists(reference, kept)))
        return found


@dataclass(frozen=True)
class _Work:
    context: Context
    selection: Selection
    found: Sequence[Holding]
    guards: dict[TableName, _Guard]
    leave_out: frozenset[str]

    def all_of_it(self, on_conflict: OnConflict, limit: int) -> Outcome:
        """Removed rows, changed ones, what we had made for them; then what is left, told apart."""
        context, mirrors = self.context, [of.mirror for of in self.found]
        with context.sessions.open() as connection:
            size = context.sessions.first_batch(connection)
        restored = removed_back(context, mirrors, size, only=self._chosen, leave_out=self.leave_out)
        for mirror in mirrors:
            one = restore_mirror(context, mirror, size, CHANGED, only=self._chosen, leave_out=self.leave_out)
            restored += one.restored
        parents = self._created(size) if self.selection.is_whole else 0
        outcome = replace(self._settled(on_conflict, limit), restored=restored, parents=parents)
        settled = restored or parents or outcome.conflicts or outcome.superseded
        if outcome.blocked and not settled:
            raise self._standing(outcome.blocked)
        return outcome

    def _chosen(self, mirror: Mirror, clause: sa.FromClause) -> list[ColumnElement[bool]]:
        """What was asked for, of that what a standing reference lets through."""
        return [*self.selection.where(mirror, clause), *self.guards[mirror.name].passes(clause)]

    def _asked(self, mirror: Mirror, clause: sa.FromClause) -> list[ColumnElement[bool]]:
        return self.selection.where(mirror, clause)

    def _created(self, size: BatchSize) -> int:
        """Parents that we made, as a downgrade removes them: where nothing refers to them any more. While
        the foreign key stands its children have to have them."""
        total = 0
        for holding in self.found:
            if not holding.is_child or self.guards[holding.mirror.name].foreign_key is not None:
                continue
            context = replace(self.context, reference=holding.reference)
            with context.sessions.open() as connection:
                facts = context.dialect.facts(connection, holding.reference)
                runs = journal.runs(connection, holding.reference)
            mirrors = [of.mirror for of in self.found if of.reference == holding.reference]
            total += remove_parents(context, facts, mirrors, size)
            total += len(_sentinels_of(runs)) - remove_sentinels(context, facts, undone=True)
        return total

    def _settled(self, on_conflict: OnConflict, limit: int) -> Outcome:
        """What is left, told apart."""
        superseded = blocked = left = 0
        listed: list[Conflict] = []
        dialect, selection = self.context.dialect, self.selection
        with self.context.sessions.work() as connection:
            for holding in self.found:
                if on_conflict == "newest":
                    superseded += self._superseded(connection, holding)
                here = count(connection, holding, selection)
                left += here
                blocked += waiting(connection, holding.mirror, _PUT_BACK, self._asked)
                blocked -= count(connection, holding, selection, _PUT_BACK)
                if on_conflict != "skip" and here and len(listed) < limit:
                    room = limit - len(listed)
                    listed += conflicts(connection, dialect, holding, selection, limit=room)
        return Outcome(superseded=superseded, blocked=blocked, conflicts=left, listed=tuple(listed))

    def _superseded(self, connection: Connection, holding: Holding) -> int:
        """Settle the conflicts in which the application has the newer word. A page at a time: each row costs
        look-ups of its own."""
        total = 0
        every = conflicts(connection, self.context.dialect, holding, self.selection)
        while rows := list(islice(every, _CONFLICTS)):
            self.context.check()
            numbers = [one.row.id for one in rows if one.is_superseded]
            with self.context.dialect.transaction(connection):
                mark(connection, holding.mirror, numbers, SUPERSEDED)
            total += len(numbers)
        return total

    def _standing(self, blocked: int) -> Refused:
        holding = next((of for of in self.found if of.is_child), self.found[0])
        guard = self.guards[holding.mirror.name]
        what = f"foreign key {guard.foreign_key}" if guard.foreign_key else "NOT NULL"
        return Refused(
            f"{blocked} row(s) of {holding.mirror.source} cannot be put back while the {what} of "
            f"{holding.reference} stands: they are orphans still, and it would refuse them. Nothing was "
            "changed.",
            hint="Take the reference back first: alembic downgrade, to the revision before its sweep, which "
            "puts them all back; or create the parents they name, then run this again.",
        )


def _guard(connection: Connection, dialect: Dialect, holding: Holding) -> _Guard:
    """What stands now. Only the child's own rows are orphans of the reference."""
    if not holding.is_child:
        return _Guard(holding)
    facts: Facts = dialect.facts(connection, holding.reference)
    key = facts.foreign_key
    refused = bool(facts.guards) or facts.null_check != "absent" or facts.not_null
    name = (key.name or "the unnamed foreign key") if key is not None else None
    return _Guard(holding, name, refused and not holding.reference.nullable)


def _sentinels_of(runs: Sequence[journal.Run]) -> list[journal.Run]:
    return [run for run in runs if run.facts.get("sentinel") is not None]


def _anything(connection: Connection, found: Sequence[Holding], selection: Selection) -> bool:
    """Whether the selection means a row that is in quarantine still, or something that we had made."""

    def asked(mirror: Mirror, clause: sa.FromClause) -> list[ColumnElement[bool]]:
        return selection.where(mirror, clause)

    actions = (*_PUT_BACK, CREATED) if selection.is_whole else _PUT_BACK
    if any(waiting(connection, of.mirror, actions, asked) for of in found):
        return True
    return selection.is_whole and any(_sentinels_of(journal.runs(connection, of.reference)) for of in found)


def _all_back(connection: Connection, found: Sequence[Holding], selection: Selection) -> bool:
    """Whether it means rows, and all of them are settled: an earlier call was killed after its last batch."""
    clauses = [(of.mirror, of.mirror.clause) for of in found]
    return any(
        connection.execute(sa.select(clause.c[ID]).where(*selection.where(mirror, clause)).limit(1)).first()
        for mirror, clause in clauses
    )
