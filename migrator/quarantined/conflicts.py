"""Why a row could not come back, and the row that stands in its way. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.bycontent import matches
from migrator.catalog import ForeignKey
from migrator.dialects import Dialect
from migrator.exact import exact_for
from migrator.fit import Fit, fit_of
from migrator.mirror import ACTION, CHANGED, CONFLICT, CREATED, ID, STATE, Mirror
from migrator.predicate import table_clause
from migrator.putback import same
from migrator.quarantined.export import row_to_json
from migrator.quarantined.holdings import Holding, Selection
from migrator.quarantined.rows import HeldRow, held_rows, mirror_columns, readable
from migrator.report.values import pairs

_PAGE = 500

Reason = Literal[
    "key-taken",
    "row-changed",
    "row-gone",
    "unique-taken",
    "parent-gone",
    "does-not-fit",
    "still-used",
    "refused",
]


@dataclass(frozen=True)
class Conflict:
    """One row that stays in quarantine.

    Args:
        row: as it was.
        reason: one word for why.
        message: the same in a sentence, naming constraint and columns.
        live: the row of today that is in the way; empty where none is.
        data: both, as JSON has them.
    """

    row: HeldRow
    reason: Reason
    message: str
    live: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_superseded(self) -> bool:
        """Whether the application has a newer word on this very row."""
        return self.reason in ("key-taken", "row-changed", "row-gone")


def conflicts(
    connection: Connection,
    dialect: Dialect,
    holding: Holding,
    selection: Selection,
    *,
    limit: int | None = None,
) -> Iterator[Conflict]:
    """The selected rows of a mirror that are marked as conflicts, each with its reason."""
    chosen = Selection(**{**vars(selection), "states": (CONFLICT,)})
    fit: Fit | None = None
    columns, exact = mirror_columns(connection, dialect, holding), exact_for(dialect)
    for row in _paged(connection, dialect, holding, chosen, limit):
        fit = fit or fit_of(connection, dialect, holding.mirror)
        reason, message, live = _why(connection, dialect, fit, row)
        data = {
            **row_to_json(row, columns, exact),
            "conflict": reason,
            "message": message,
            "live": {name: exact.plain(value, fit.live.column(name)) for name, value in live.items()}
            if live and fit.live is not None
            else None,
        }
        yield Conflict(row, reason, message, live, data)


def _paged(
    connection: Connection, dialect: Dialect, holding: Holding, selection: Selection, limit: int | None
) -> Iterator[HeldRow]:
    """Page by page: each row costs look-ups of its own, for which a cursor would have to be put aside."""
    after, left = 0, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        page = list(held_rows(connection, dialect, holding, selection, limit=size, after=after))
        yield from page
        if len(page) < size:
            return
        after, left = page[-1].id, None if left is None else left - size


def count(connection: Connection, holding: Holding, selection: Selection, actions: Sequence[str] = ()) -> int:
    """How many selected rows of a mirror are marked as conflicts; of these actions, if so asked."""
    clause = holding.mirror.clause
    query = sa.select(sa.func.count()).select_from(clause)
    query = query.where(clause.c[STATE] == CONFLICT, *selection.where(holding.mirror, clause))
    if actions:
        query = query.where(clause.c[ACTION].in_(actions))
    return int(connection.scalar(query) or 0)


Why = tuple[Reason, str, Mapping[str, Any]]


def _why(connection: Connection, dialect: Dialect, fit: Fit, row: HeldRow) -> Why:
    source, mirror = fit.mirror.source, fit.mirror
    if row.action == CREATED:
        return "still-used", f"{source} {pairs(row.key)} was made by us and rows refer to it by now", {}
    if not fit.stands or fit.live is None:
        return "does-not-fit", "; ".join(fit.problems()), {}
    if row.action == CHANGED and mirror.by_address:
        return _why_not_found(connection, dialect, fit, row)
    if row.action == CHANGED:
        live = _live(connection, dialect, fit, row, mirror.places)
        taken = _live(connection, dialect, fit, row, _as_it_was(mirror)) if mirror.moves and live else {}
        if taken:
            return "key-taken", f"{source} has a row {pairs(row.key)} again", taken
        return _why_not_changed(connection, fit, row, live)
    live = {} if mirror.by_address else _live(connection, dialect, fit, row, _as_it_was(mirror))
    if live:
        return "key-taken", f"{source} has a row {pairs(row.key)} again", live
    if fit.required or (fit.lost and _holds_lost(connection, fit, row)):
        return "does-not-fit", "; ".join(fit.problems()), {}
    for key in fit.live.unique_keys:
        same = {name: name for name in key}
        if set(key) <= set(fit.columns) and (live := _live(connection, dialect, fit, row, same)):
            named = pairs({name: row.values[name] for name in key})
            return (
                "unique-taken",
                f"another row of {source} has {named} by now: {pairs(_of(live, mirror.key))}",
                live,
            )
    for fk in fit.live.foreign_keys:
        if _parent_is_gone(connection, fit, row, fk):
            named = pairs({name: row.values[name] for name in fk.columns})
            return "parent-gone", f"{fk.name or 'a foreign key'} wants a row of {fk.parent} for {named}", {}
    return _otherwise(fit)


def _why_not_changed(connection: Connection, fit: Fit, row: HeldRow, live: Mapping[str, Any]) -> Why:
    source, mirror = fit.mirror.source, fit.mirror
    if not live:
        left_as = {name: row.new.get(name, value) for name, value in row.key.items()}
        return "row-gone", f"{source} {pairs(left_as)} was deleted since", {}
    if not fit.takes_references:
        return "does-not-fit", "; ".join(fit.problems()), live
    clause, kept = mirror.source_clause.alias("c"), mirror.clause.alias("m")
    new = zip(mirror.reference_columns, mirror.new(kept), strict=True)
    ours = sa.and_(*(same(clause.c[name], value) for name, value in new))
    keys = [clause.c[name] == kept.c[place] for name, place in mirror.places.items()]
    query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(kept.join(clause, sa.and_(*keys)))
    if connection.execute(query.where(kept.c[ID] == row.id, ours)).first() is None:
        now = pairs(_of(live, mirror.reference_columns))
        return "row-changed", f"the application has set {now} since, and we had set {pairs(row.new)}", live
    reason, message, _ = _otherwise(fit)
    for fk in fit.live.foreign_keys if fit.live else ():
        if _parent_is_gone(connection, fit, row, fk):
            named = pairs({name: row.values[name] for name in fk.columns})
            return "parent-gone", f"{fk.name or 'a foreign key'} wants a row of {fk.parent} for {named}", live
    return reason, message, live


def _why_not_found(connection: Connection, dialect: Dialect, fit: Fit, row: HeldRow) -> Why:
    if not fit.takes_references:
        return "does-not-fit", "; ".join(fit.problems()), {}
    if not matches(connection, dialect, fit, [row.id], changed=True):
        was = f"{pairs(row.key)}, set to {pairs(row.new)}"
        return "row-gone", f"{fit.mirror.source} has no row any more that is as we left it ({was})", {}
    for fk in fit.live.foreign_keys if fit.live else ():
        if _parent_is_gone(connection, fit, row, fk):
            named = pairs({name: row.values[name] for name in fk.columns})
            return "parent-gone", f"{fk.name or 'a foreign key'} wants a row of {fk.parent} for {named}", {}
    return _otherwise(fit)


def _otherwise(fit: Fit) -> Why:
    source = fit.mirror.source
    if fit.retyped:
        return "does-not-fit", "; ".join(fit.problems()), {}
    triggers = fit.live.triggers if fit.live else ()
    if triggers:
        return (
            "refused",
            f"{source} does not take the row as it was: look at its triggers ({', '.join(triggers)}) and "
            "its CHECK constraints",
            {},
        )
    return "refused", f"{source} does not take the row: look at its CHECK constraints", {}


def _live(
    connection: Connection, dialect: Dialect, fit: Fit, row: HeldRow, by: Mapping[str, str]
) -> Mapping[str, Any]:
    """The row of today that has in these columns what the mirror has in those, none of them NULL."""
    exact = exact_for(dialect)
    assert fit.live is not None
    names = [column.name for column in fit.live.columns]
    live = table_clause(fit.mirror.source, *names).alias("c")
    kept = fit.mirror.clause.alias("m")
    on = sa.and_(*(live.c[name] == kept.c[place] for name, place in by.items()))
    cells = [exact.text(live.c[name], fit.live.column(name)).label(None) for name in names]
    query = sa.select(*cells).select_from(kept.join(live, on)).where(kept.c[ID] == row.id).limit(1)
    found = connection.execute(query).first()
    if found is None:
        return {}
    return {name: readable(exact, value) for name, value in zip(names, found, strict=True)}


def _as_it_was(mirror: Mirror) -> Mapping[str, str]:
    return {name: name for name in mirror.key}


def _parent_is_gone(connection: Connection, fit: Fit, row: HeldRow, fk: ForeignKey) -> bool:
    if not set(fk.columns) <= set(fit.columns) or any(row.values[name] is None for name in fk.columns):
        return False
    kept = fit.mirror.clause.alias("m")
    parent = table_clause(fk.parent, *fk.parent_columns).alias("p")
    on = [
        kept.c[ours] == parent.c[theirs] for ours, theirs in zip(fk.columns, fk.parent_columns, strict=True)
    ]
    query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(kept.join(parent, sa.and_(*on)))
    return connection.execute(query.where(kept.c[ID] == row.id).limit(1)).first() is None


def _holds_lost(connection: Connection, fit: Fit, row: HeldRow) -> bool:
    kept = sa.table(fit.mirror.name.name, *(sa.column(name) for name in (ID, ACTION, *fit.lost))).alias("m")
    loses = fit.loses(kept)
    if loses is None:
        return False
    return connection.execute(sa.select(kept.c[ID]).where(kept.c[ID] == row.id, loses)).first() is not None


def _of(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}
