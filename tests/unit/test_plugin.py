"""Alembic loads the plugin while half imported itself: whoever is imported first, `op` has the words."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = (
    "alembic",
    "alembic.op",
    "alembic.operations",
    "alembic.autogenerate",
    "alembic.runtime.plugins",
    "alembic.ddl.postgresql",
    "migrator",
    "migrator.operations",
    "migrator.errors",
    "migrator.plugin",
)
WORDS = (
    "sweep_orphans",
    "restore_orphans",
    "enforce_reference",
    "release_reference",
    "validate_reference",
    "unvalidate_reference",
    "sweep_set",
    "restore_set",
)


@pytest.mark.parametrize("first", FIRST)
def test_the_operations_are_registered_whoever_is_imported_first(first: str) -> None:
    """Each import order ends with all operations on `op` and their renderers known."""
    program = (
        f"import {first}\n"
        "from alembic import op\n"
        "from alembic.autogenerate.render import renderers\n"
        "from migrator.operations import OPERATIONS\n"
        f"assert all(callable(getattr(op, word)) for word in {WORDS!r})\n"
        "assert all(renderers.dispatch(cls('a.b -> c.d')) for cls in OPERATIONS.values())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_each_operation_reverses_to_its_inverse_and_back() -> None:
    """`reverse()` of `reverse()` is the operation, on the same reference."""
    from migrator.operations import OPERATIONS

    for cls in OPERATIONS.values():
        operation = cls("post.user_id -> user.id")
        again = operation.reverse().reverse()
        assert type(again) is cls
        assert str(again.reference) == "post.user_id -> user.id"


def test_a_set_reverses_to_its_inverse_and_is_rendered() -> None:
    """With its references in their order."""
    from alembic.autogenerate.render import renderers

    from migrator.set_operations import RestoreSet, SweepSet

    operation = SweepSet(["reply.post_id -> post.id", "post.user_id -> user.id"], on_null="delete")
    back = operation.reverse()
    assert type(back) is RestoreSet
    assert type(back.reverse()) is SweepSet
    assert back.reverse().options == {"on_null": "delete"}
    assert back.to_diff_tuple() == ("restore_set", "post.user_id -> user.id", "reply.post_id -> post.id")
    text = "op.sweep_set(['post.user_id -> user.id', 'reply.post_id -> post.id'])"
    assert renderers.dispatch(operation)(None, operation) == text


def test_every_name_the_package_promises_can_be_imported() -> None:
    """`__all__` is sorted and each of its names resolves."""
    import migrator

    assert migrator.__all__ == sorted(migrator.__all__)
    assert all(getattr(migrator, name) is not None for name in migrator.__all__)
