"""The statements behind a restore: rows inserted again, references given back, both compared with what the
quarantine has of them. Part of the caller's transaction throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from migrator.bycontent import Altered, give_back_by_content, matches
from migrator.dialects import Dialect
from migrator.errors import MigratorError, StepFailed
from migrator.exact import exact_for
from migrator.fit import Fit, altered
from migrator.mirror import ID
from migrator.plainsql import number_sql, run_plain
from migrator.triggers import silenced

Key = tuple[Any, ...]
#: A row's number in the mirror, and its key.
Numbered = tuple[int, Key]

#: What is no fault of the row: the batch as a whole is tried again, or the run ends.
_NOT_THE_ROW = ("lock-timeout", "deadlock", "retry", "lost", "denied", "no-room")


def undelete(connection: Connection, dialect: Dialect, fit: Fit, rows: Sequence[Numbered]) -> list[int]:
    """Insert the rows whose key is free and that fit; returns the numbers of those that are back."""
    if not rows or not fit.takes_rows:
        return []
    mirror = fit.mirror
    losing = _losing(connection, fit, [number for number, _ in rows])
    taken = set() if mirror.by_address else _taken(connection, dialect, fit, [key for _, key in rows])
    free: dict[Key, int] = {}
    for number, key in rows:
        if key not in taken and number not in losing:
            # Without a key there is nothing that two rows could have in common.
            free.setdefault((number,) if mirror.by_address else key, number)

    def insert(numbers: Sequence[int]) -> list[int]:
        try:
            with connection.begin_nested():
                return _insert(connection, dialect, fit, numbers)
        except Altered:
            with silenced(connection, dialect, mirror.source):
                return _insert(connection, dialect, fit, numbers)

    return _each_that_can(connection, dialect, sorted(free.values()), insert)


def _taken(connection: Connection, dialect: Dialect, fit: Fit, keys: Sequence[Key]) -> set[Key]:
    live = fit.mirror.source_clause.alias("c")
    columns = [live.c[column] for column in fit.mirror.key]
    query = sa.select(*columns).where(dialect.key_in(columns, keys))
    return {tuple(row) for row in connection.execute(query)}


def insert_one(connection: Connection, dialect: Dialect, fit: Fit, number: int) -> bool:
    """Insert one removed row, as far as its columns go; returns whether it is back."""
    return fit.takes_rows and bool(
        _each_that_can(
            connection, dialect, [number], lambda numbers: _insert(connection, dialect, fit, numbers)
        )
    )


def unchange(connection: Connection, dialect: Dialect, fit: Fit, rows: Sequence[Numbered]) -> list[int]:
    """Give the old reference back to the rows that still have the value we set; returns their numbers.

    Where a trigger changes more than that and cannot be kept from it, it has its way, as with any other
    UPDATE of the row: a reference that could never be given back would be worse. The drill finds it out.
    """
    if not rows or not fit.takes_references:
        return []
    keys = dict(rows)

    def give_back(numbers: Sequence[int]) -> list[int]:
        these = [(number, keys[number]) for number in numbers]
        try:
            with connection.begin_nested():
                return _update(connection, dialect, fit, these, strict=True)
        except Altered:
            with silenced(connection, dialect, fit.mirror.source):
                return _update(connection, dialect, fit, these, strict=False)

    return _each_that_can(connection, dialect, [number for number, _ in rows], give_back)


def _each_that_can(
    connection: Connection,
    dialect: Dialect,
    numbers: Sequence[int],
    work: Callable[[Sequence[int]], list[int]],
) -> list[int]:
    """All in one statement; where the server will not, row by row, so that one conflict does not hold the
    others back. Forwards and backwards, as long as it helps: MySQL looks for a row's parent at once, and
    that may be the next row."""
    if not numbers:
        return []
    try:
        with connection.begin_nested():
            return work(numbers)
    except (sa.exc.DBAPIError, Altered) as error:
        if _concerns_all(dialect, error):
            raise
        if len(numbers) == 1:
            return []
    back: list[int] = []
    left = list(numbers)
    while done := {one for number in left for one in _each_that_can(connection, dialect, [number], work)}:
        back += done
        left = [number for number in reversed(left) if number not in done]
    return back


def _concerns_all(dialect: Dialect, error: Exception) -> bool:
    return not isinstance(error, MigratorError) and dialect.verdict(error) in _NOT_THE_ROW


def _insert(connection: Connection, dialect: Dialect, fit: Fit, numbers: Sequence[int]) -> list[int]:
    mirror, exact = fit.mirror, exact_for(dialect)
    assert fit.live is not None
    columns = dialect.columns_sql(fit.columns)
    values = ", ".join(
        exact.converted(dialect.quote(name), fit.live.column(name))
        if name in fit.retyped
        else dialect.quote(name)
        for name in fit.columns
    )
    statement = dialect.insert_identity(
        f"INSERT INTO {dialect.table_sql(mirror.source)} ({columns}) "
        f"SELECT {values} FROM {dialect.table_sql(mirror.name)} "
        f"WHERE {dialect.quote(ID)} IN ({', '.join(str(int(number)) for number in numbers)}) "
        f"ORDER BY {dialect.quote(ID)}"
    )
    result = run_plain(connection, statement)
    if result.rowcount != len(numbers):
        raise StepFailed(
            f"{result.rowcount} of {len(numbers)} rows came back to {mirror.source}; the batch was undone.",
            hint=f"Look for a trigger or rule on {mirror.source} that swallows inserts.",
        )
    if fit.live.triggers or fit.retyped:
        _compare(connection, dialect, fit, numbers)
    return list(numbers)


def _compare(connection: Connection, dialect: Dialect, fit: Fit, numbers: Sequence[int]) -> None:
    """Whether the rows are in their table as they are in quarantine."""
    if fit.mirror.by_address:
        if len(matches(connection, dialect, fit, numbers, changed=False)) != len(numbers):
            raise Altered(f"Rows of {fit.mirror.source} did not come back as they were.")
        return
    live, kept = fit.mirror.source_clause.alias("c"), fit.mirror.clause.alias("m")
    same_key = [live.c[column] == kept.c[column] for column in fit.mirror.key]
    there = sa.select(sa.func.count()).select_from(kept.join(live, sa.and_(*same_key)))
    there = there.where(kept.c[ID].in_([number_sql(number) for number in numbers]))
    others = tuple(column for column in fit.columns if column not in fit.mirror.key)
    changed = int(connection.scalar(there.where(altered(dialect, fit, live, kept, others))) or 0)
    if changed or int(connection.scalar(there) or 0) != len(numbers):
        raise Altered(f"Rows of {fit.mirror.source} did not come back as they were.")


def _update(
    connection: Connection, dialect: Dialect, fit: Fit, rows: Sequence[Numbered], *, strict: bool
) -> list[int]:
    mirror = fit.mirror
    if mirror.by_address:
        return give_back_by_content(connection, dialect, fit, [number for number, _ in rows], strict=strict)
    assert fit.live is not None
    live, kept = mirror.source_clause.alias("c"), mirror.clause.alias("m")
    columns = [live.c[column] for column in mirror.key]
    new = dict(zip(mirror.reference_columns, mirror.new(kept), strict=True))
    chosen = kept.c[ID].in_([number_sql(number) for number, _ in rows])
    standing = {column: kept.c[place] for column, place in mirror.places.items()}
    places = [key for _, key in rows]
    if mirror.moves:
        places = [tuple(row) for row in connection.execute(sa.select(*standing.values()).where(chosen))]
    locked = sa.select(*columns).where(dialect.key_in(columns, places)).order_by(*columns)
    connection.execute(dialect.for_update(locked)).all()
    same_key = [standing[column] == live.c[column] for column in mirror.key]
    ours = [same(live.c[column], value) for column, value in new.items()]
    # A dependant may have been nulled first and removed after: removed rows come back whole.
    as_before = [same(live.c[column], kept.c[column]) for column in mirror.reference_columns]
    taken = mirror.source_clause.alias("t")
    there = sa.exists().where(*(taken.c[column] == kept.c[column] for column in mirror.key))
    free = [~there] if mirror.moves else []
    found = connection.execute(
        sa.select(kept.c[ID], *columns)
        .select_from(kept.join(live, sa.and_(*same_key)))
        .where(chosen, sa.or_(sa.and_(*ours), sa.and_(*as_before)), *free)
    ).all()
    if not found:
        return []
    back = [int(row[0]) for row in found]
    keys = [tuple(row[1:]) for row in found]
    before = _others(connection, dialect, fit, keys) if strict else []
    target = mirror.source_clause
    # Joined, not asked for column by column: MySQL would look for the second one's value under the key that
    # the first has already.
    values: dict[Any, Any] = {target.c[column]: kept.c[column] for column in mirror.reference_columns}
    for column in dialect.change_extras(fit.live):
        values[target.c[column]] = target.c[column]
    these = kept.c[ID].in_([number_sql(number) for number in back])
    same_key = [standing[column] == target.c[column] for column in mirror.key]
    condition = dialect.key_in([target.c[column] for column in mirror.key], keys)
    result = connection.execute(sa.update(target).values(values).where(condition, these, *same_key))
    if result.rowcount != len(back):
        raise StepFailed(
            f"{result.rowcount} of {len(back)} rows of {mirror.source} took their old value; "
            "the batch was undone."
        )
    if strict and before != _others(connection, dialect, fit, keys):
        raise Altered(f"Rows of {mirror.source} were changed by a trigger beside what was given back.")
    return back


def _others(connection: Connection, dialect: Dialect, fit: Fit, keys: Sequence[Key]) -> list[Any]:
    """What the rows hold beside their reference; looked at only where a trigger could change it."""
    assert fit.live is not None
    if not fit.live.triggers:
        return []
    exact = exact_for(dialect)
    live = fit.mirror.source_clause.alias("c")
    columns = [live.c[column] for column in fit.mirror.key]
    cells = [
        exact.text(live.c[column], fit.live.column(column))
        for column in fit.columns
        if column not in fit.mirror.reference_columns
    ]
    query = sa.select(*(cell.label(None) for cell in cells)).where(dialect.key_in(columns, keys))
    return [tuple(row) for row in connection.execute(query.order_by(*columns))]


def _losing(connection: Connection, fit: Fit, numbers: Sequence[int]) -> set[int]:
    """The rows that hold a value for which no column is left."""
    kept = sa.table(fit.mirror.name.name, *(sa.column(name) for name in (ID, *fit.lost))).alias("m")
    loses = fit.loses(kept)
    if loses is None:
        return set()
    of = kept.c[ID].in_([number_sql(number) for number in numbers])
    return {int(number) for number in connection.execute(sa.select(kept.c[ID]).where(of, loses)).scalars()}


def same(left: ColumnElement[Any], right: ColumnElement[Any]) -> ColumnElement[bool]:
    """Equal, NULL being equal to NULL."""
    return sa.or_(left == right, sa.and_(left.is_(None), right.is_(None)))
