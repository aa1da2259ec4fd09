"""Any schema, any rows, any policy: what a sweep does is what brute force says, and the way back is exact."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings

from migrator import quarantine, restore_orphans, sweep_orphans
from migrator.errors import Refused
from migrator.mirror import ACTION, CHANGED, CREATED, DELETED, KEPT
from migrator.predicate import table_clause
from tests.conftest import Database
from tests.operations.lifecycle import FAST, own_objects
from tests.property import worlds as made
from tests.property.oracle import NotAllowed, State, swept
from tests.property.worlds import World, worlds

_ALWAYS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.engines("sqlite")
@settings(max_examples=60, **_ALWAYS)
@given(world=worlds())
def test_up_is_as_judged_and_down_is_the_identity(database: Database, world: World) -> None:
    """Hundreds of small worlds on SQLite, triggers included."""
    with database.new_database() as fresh:
        proved(fresh, world)


@pytest.mark.engines("postgresql", "mysql", "mariadb")
@settings(max_examples=8, **_ALWAYS)
@given(world=worlds())
def test_the_same_on_servers(database: Database, world: World) -> None:
    """A few of them on every server."""
    with database.new_database() as fresh:
        proved(fresh, world)


def proved(database: Database, world: World) -> None:
    """Up, compare with the oracle, look into the quarantine, down, compare with the start."""
    engine = database.engine
    made.create(engine, world)
    before = made.given(world)
    assert made.read(engine, world) == before
    ours = own_objects(database)
    try:
        wanted = swept(world, before)
    except NotAllowed as no:
        event("refused later" if no.changed else "refused")
        with pytest.raises(Refused):
            up(database, world)
        if not no.changed:
            assert made.read(engine, world) == before
            assert own_objects(database) == ours
    else:
        event("swept" if wanted != before else "nothing to do")
        up(database, world)
        assert made.read(engine, world) == wanted
        assert_accounted_for(database, world, before, wanted)
    restore_orphans(world.reference, bind=engine, settings=FAST)
    assert made.read(engine, world) == before
    assert own_objects(database) == ours


def up(database: Database, world: World) -> None:
    """Sweep."""
    sweep_orphans(
        world.reference,
        on_null=world.on_null,
        on_dangling=world.on_dangling,
        bind=database.engine,
        settings=FAST,
    )


def assert_accounted_for(database: Database, world: World, before: State, after: State) -> None:
    """Every row is untouched, or changed with its original in quarantine, or removed with it; and what is
    new is known to be ours."""
    kept: dict[str, list[tuple[str, dict[str, Any]]]] = {name: [] for name in world.tables}
    with database.engine.connect() as connection:
        for mirror in quarantine.mirrors(connection, world.reference):
            clause = table_clause(mirror.name, ACTION, *mirror.columns)
            for row in connection.execute(sa.select(clause)):
                values = dict(zip(mirror.columns, row[1:], strict=True))
                kept[mirror.source.name].append((row[0], values))
    for name, table in world.tables.items():
        originals = [row for action, row in kept[name] if action in (CHANGED, DELETED)]
        for key, original in before[name].items():
            now = after[name].get(key)
            if now == original:
                assert key not in [table.key_of(row) for row in originals]
            else:
                assert original in originals
                actions = {action for action, row in kept[name] if table.key_of(row) == key}
                assert (DELETED if now is None else CHANGED) in actions
        new = [row for key, row in after[name].items() if key not in before[name]]
        assert [row for action, row in kept[name] if action == CREATED and row not in new] == []
        assert [row for row in new if (CREATED, row) not in kept[name]] == []
        assert {action for action, _ in kept[name]} <= {CHANGED, DELETED, CREATED, KEPT}
