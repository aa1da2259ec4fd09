"""Which mirrors there are, whose they are, and which of their rows a command is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator import journal, quarantine
from migrator.catalog import shown
from migrator.errors import MigratorError, UsageError
from migrator.mirror import AT, KIND, RUN_ID, STATE, Mirror
from migrator.predicate import table_clause
from migrator.reference import Reference
from migrator.worklist import bound


@dataclass(frozen=True)
class Holding:
    """A mirror and what it belongs to.

    Args:
        mirror: the quarantine table.
        reference: as the run that filled it knew it.
        in_force: whether an upgrade of this reference stands that a downgrade would take back.
    """

    mirror: Mirror
    reference: Reference
    in_force: bool

    @property
    def is_child(self) -> bool:
        """Whether it holds rows of the reference's child itself, not of what depends on it. The parents
        that we made are in a mirror of their own."""
        return self.mirror.source.name == self.reference.child.name


@dataclass(frozen=True)
class Selection:
    """Which rows; what is empty selects all.

    Args:
        references: their text as a user writes it.
        runs: ids of runs, or how they begin.
        states: held, conflict, restored, healed, superseded.
        kinds: null, partial, dangling, dependant.
        keys: rows by their key: of each the columns and the values as text; a key without column names
            (None) is one of a single column.
        before: set aside before this time, as the journal writes times.
    """

    references: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    keys: tuple[Mapping[str | None, str], ...] = ()
    before: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is about all that was set aside of some references, or of all."""
        return not (self.runs or self.states or self.kinds or self.keys or self.before)

    def where(self, mirror: Mirror, clause: sa.FromClause) -> list[ColumnElement[bool]]:
        """The conditions on a mirror's rows.

        Raises:
            UsageError: a key does not name the columns of this mirror's key.
        """
        found: list[ColumnElement[bool]] = []
        if self.runs:
            found.append(sa.or_(*(clause.c[RUN_ID].startswith(run, autoescape=True) for run in self.runs)))
        for column, words in ((STATE, self.states), (KIND, self.kinds)):
            if words:
                found.append(clause.c[column].in_(words))
        if self.before is not None:
            found.append(clause.c[AT] < self.before)
        if self.keys:
            found.append(sa.or_(*(_key(mirror, clause, key) for key in self.keys)))
        return found


def holdings(connection: Connection, references: Sequence[str] = ()) -> list[Holding]:
    """The mirrors of these references, or all, in the order in which they were made.

    Raises:
        UsageError: a reference is named of which nothing was set aside.
    """
    if not journal.exists(connection):
        return []
    wanted = [Reference.parse(text) for text in references]
    known: dict[str, Reference] = {}
    in_force: set[str] = set()
    for run in journal.runs(connection):
        key = journal.reference_key(run.reference)
        known[key] = run.reference
        if run.operation in journal.FORWARD and run.state not in ("undone", "refused"):
            in_force.add(key)
    lines = connection.execute(
        sa.select(journal.MIRROR.c.name, journal.MIRROR.c.reference_key, journal.MIRROR.c.reference)
    ).all()
    owners = {line.name: line for line in lines}
    found: list[Holding] = []
    for mirror in quarantine.mirrors(connection):
        line = owners[mirror.name.name]
        reference = known.get(line.reference_key) or Reference.parse(line.reference)
        if not wanted or any(str(reference) == str(one) for one in wanted):
            found.append(Holding(mirror, reference, line.reference_key in in_force))
    missing = [one for one in wanted if not any(str(one) == str(of.reference) for of in found)]
    if missing:
        there = sorted({str(of.reference) for of in found} | {str(line.reference) for line in lines})
        listed = ", ".join(there) or "none"
        raise UsageError(
            f"Nothing was set aside for {missing[0]}.", hint=f"References with a quarantine: {listed}."
        )
    return found


def sources(connection: Connection, mirror: Mirror) -> set[str]:
    """The columns that the mirror's table really has, ours left out: one that the source lost, and a later
    sweep no longer knew of, is still there."""
    own = set(mirror.clause.c.keys()) - set(mirror.columns)
    # Not reflected: SQLAlchemy has no type for the place of a row.
    none = sa.select(sa.text("*")).select_from(table_clause(mirror.name)).limit(0)
    names = connection.execute(none).keys()
    return set(map(str, names)) - own


def parse_key(text: str) -> Mapping[str | None, str]:
    """`5`, `id=5`, `country=A,code=7` or `ctid=(0,7)`.

    Raises:
        UsageError: a part of several has no name.
    """
    if "=" not in text:
        return {None: text}
    parts = [part.partition("=") for part in re.split(r",(?![^(]*\))", text)]
    if any(not middle for _, middle, _ in parts):
        raise UsageError(f"The key {text!r} cannot be read.", hint="Write it as column=value,column=value.")
    return {name.strip(): value for name, _, value in parts}


def _key(mirror: Mirror, clause: sa.FromClause, key: Mapping[str | None, str]) -> ColumnElement[bool]:
    named: dict[str, str] = {}
    for name, value in key.items():
        if name is None and len(mirror.key) != 1:
            columns = ",".join(f"{column}=..." for column in mirror.key)
            raise UsageError(f"The key of {mirror.source} has several columns.", hint=f"--key {columns}")
        named[name or shown(mirror.key[0])] = value
    if set(named) != set(map(shown, mirror.key)):
        columns = ",".join(f"{shown(column)}=..." for column in mirror.key)
        raise UsageError(
            f"{', '.join(named)} is not the key of {mirror.source}.",
            hint=f"--key {columns}; with several tables in quarantine name one with --reference.",
        )
    return sa.and_(*(clause.c[column] == bound(named[shown(column)]) for column in mirror.key))


def nothing_selected(found: Sequence[Holding]) -> MigratorError:
    """What to say where a selection has no rows."""
    if not found:
        return UsageError("This database has no quarantine: nothing was ever set aside, or all is back.")
    return UsageError(
        "No quarantined row is meant by this.", hint="See what there is: migrator quarantine list"
    )
