"""The PostgreSQL steps as plain values: no server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from migrator.catalog import Column, Facts, ForeignKey, Index, Server, Table
from migrator.dialects import pg_words
from migrator.dialects.pg_facts import Extras, NotNull, Partition
from migrator.dialects.pg_index import drop_index_steps, index_steps
from migrator.dialects.pg_null import null_step_columns, null_step_name
from migrator.dialects.pg_steps import enforce_steps, release_steps, unvalidate_steps, validate_steps
from migrator.dialects.pg_words import LockingSql
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName

POST, USER = TableName("post", "public"), TableName("user", "public")
REFERENCE = Reference.parse("post.user_id -> user.id")
KEY = ForeignKey("fk_post_user_id_user", POST, ("user_id",), USER, ("id",), validated=False)
GUARDS = ("migrator_guard_post_user_id_insert", "migrator_guard_post_user_id_update")
EVERY_VERSION = [(13, 23), (15, 18), (17, 10), (18, 4)]


def facts(version: tuple[int, ...] = (15, 18), reference: Reference = REFERENCE, **changes: Any) -> Facts:
    """A blog on a server of this version; `changes` go to the child, `extras` to what only PostgreSQL has."""
    extras: Mapping[str, Any] = changes.pop("extras", {})
    more = {name: changes.pop(name) for name in ("guards", "null_check") if name in changes}
    child = Table(
        POST,
        changes.pop("kind", "table"),
        changes.pop("columns", (Column("id", "bigint", nullable=False), Column("user_id", "bigint"))),
        primary_key=("id",),
        extra=Extras(**extras).packed(),
        **changes,
    )
    parent = Table(USER, "table", (Column("id", "bigint", nullable=False),), primary_key=("id",))
    return Facts(Server("postgresql", version, "x"), reference, child, parent, **more)


def statements(step: Step) -> tuple[str, ...]:
    """The SQL of a step."""
    assert isinstance(step.work, Sql)
    return step.work.statements


def names(steps: tuple[Step, ...]) -> list[str]:
    """The steps' names."""
    return [step.name for step in steps]


def test_enforce_locks_the_parent_first_and_looks_at_no_row() -> None:
    """LOCK TABLE in the application's order, then ADD .. NOT VALID."""
    key, guard = enforce_steps(facts(), parent_first=True)
    assert statements(key) == (
        'LOCK TABLE "public"."user" IN SHARE ROW EXCLUSIVE MODE',
        'LOCK TABLE "public"."post" IN SHARE ROW EXCLUSIVE MODE',
        'ALTER TABLE "public"."post" ADD CONSTRAINT "fk_post_user_id_user" '
        'FOREIGN KEY ("user_id") REFERENCES "public"."user" ("id") NOT VALID',
    )
    assert key.lock == "SHARE ROW EXCLUSIVE on user, post"
    assert guard.lock == "SHARE ROW EXCLUSIVE on post"
    assert names((key, guard)) == ["add-foreign-key", "add-null-guard"]


def test_a_nullable_reference_has_no_step_about_null() -> None:
    """NULL is right there."""
    wanted = replace(REFERENCE, nullable=True)
    assert names(enforce_steps(facts(reference=wanted), parent_first=True)) == ["add-foreign-key"]
    assert names(validate_steps(facts(reference=wanted), parent_first=True)) == ["validate"]


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ((17, 10), ["add-null-check", "validate", "set-not-null"]),
        ((18, 4), ["add-null-check", "validate", "drop-null-guard"]),
    ],
)
def test_the_way_to_not_null_depends_on_the_version(version: tuple[int, ...], wanted: list[str]) -> None:
    """A CHECK that lets SET NOT NULL skip its scan; from 18 on NOT NULL itself, NOT VALID at first."""
    assert names(validate_steps(facts(version), parent_first=True)) == wanted


@pytest.mark.parametrize("version", EVERY_VERSION)
def test_add_and_validate_never_share_a_step(version: tuple[int, ...]) -> None:
    """Nor does any statement that scans share one with a lock that stops writers."""
    for step in enforce_steps(facts(version), parent_first=True) + validate_steps(
        facts(version), parent_first=True
    ):
        assert isinstance(step.work, LockingSql)
        scans = any(" VALIDATE " in statement for statement in statements(step))
        strong = {mode for _, mode in step.work.locks} - {"SHARE UPDATE EXCLUSIVE", "ROW SHARE"}
        assert not (scans and strong), step.name
        assert (step.work.patience == "long") == scans, step.name
        assert (step.violation == "sweep") == scans, step.name


def test_one_alter_validates_both_constraints() -> None:
    """One scan's lock for key and CHECK; on 18 for key and NOT NULL."""
    for version, name in (((15, 0), "post_user_id_nn_chk"), ((18, 4), "post_user_id_not_null")):
        validate = validate_steps(facts(version), parent_first=True)[1]
        both = f'VALIDATE CONSTRAINT "fk_post_user_id_user", VALIDATE CONSTRAINT "{name}"'
        assert statements(validate)[-1] == f'ALTER TABLE "public"."post" {both}'


def test_what_is_read_as_a_whole_is_analyzed_first() -> None:
    """Or else the planner believes pages all-visible that the sweep has touched."""
    for version in EVERY_VERSION:
        validate = validate_steps(facts(version), parent_first=True)[1]
        assert statements(validate)[0] == 'ANALYZE "public"."post" ("user_id")'


def test_set_not_null_and_the_drop_of_its_proof_are_two_statements() -> None:
    """In one ALTER the CHECK would go first, and the table would be scanned."""
    finalize = validate_steps(facts(), parent_first=True)[-1]
    assert statements(finalize)[:2] == (
        'ALTER TABLE "public"."post" ALTER COLUMN "user_id" SET NOT NULL',
        'ALTER TABLE "public"."post" DROP CONSTRAINT IF EXISTS "post_user_id_nn_chk"',
    )


def test_done_is_read_from_the_catalog() -> None:
    """Each step's done-check turns true with exactly its own effect."""
    key, guard = enforce_steps(facts(), parent_first=True)
    check, validate, finalize = validate_steps(facts(), parent_first=True)
    bare = facts()
    assert not any(step.done(bare) for step in (key, guard, check, validate, finalize))
    enforced = facts(foreign_keys=(KEY,), guards=GUARDS)
    assert key.done(enforced)
    assert guard.done(enforced)
    assert not guard.done(facts(foreign_keys=(KEY,), guards=GUARDS[:1]))
    assert check.done(facts(foreign_keys=(KEY,), guards=GUARDS, null_check="not valid"))
    valid = replace(KEY, validated=True)
    assert not validate.done(facts(foreign_keys=(valid,), null_check="not valid"))
    assert not validate.done(facts(foreign_keys=(KEY,), null_check="valid"))
    assert validate.done(facts(foreign_keys=(valid,), null_check="valid"))
    there = (Column("id", "bigint", nullable=False), Column("user_id", "bigint", nullable=False))
    assert finalize.done(facts(columns=there, foreign_keys=(valid,)))
    assert not finalize.done(facts(columns=there, foreign_keys=(valid,), guards=GUARDS))
    assert not finalize.done(facts(columns=there, foreign_keys=(valid,), null_check="valid"))


def test_18_does_not_take_a_not_null_that_is_not_valid_for_proof() -> None:
    """The column says NOT NULL already; the constraint says that nobody looked."""
    there = (Column("id", "bigint", nullable=False), Column("user_id", "bigint", nullable=False))
    unproved = NotNull("post_user_id_not_null", "user_id", validated=False)
    half = facts(
        (18, 4),
        columns=there,
        foreign_keys=(replace(KEY, validated=True),),
        null_check="not valid",
        extras={"not_nulls": (unproved,)},
    )
    check, validate, _ = validate_steps(half, parent_first=True)
    assert check.done(half)
    assert not validate.done(half)
    assert '"post_user_id_not_null"' in statements(validate)[1]


def test_the_inverses_touch_only_what_is_ours() -> None:
    """Nothing ours, nothing done; a key that was adopted is not dropped."""
    nothing: frozenset[str] = frozenset()
    assert unvalidate_steps(facts(), nothing, parent_first=True) == ()
    assert release_steps(facts(), nothing, parent_first=True) == ()
    assert drop_index_steps(facts(), nothing) == ()
    (only_guard,) = release_steps(facts(guards=GUARDS), frozenset({"add-null-guard"}), parent_first=True)
    assert not any("CONSTRAINT" in statement for statement in statements(only_guard))
    assert only_guard.lock == "ACCESS EXCLUSIVE on post"


def test_release_locks_the_parent_against_writers_before_it_locks_the_child() -> None:
    """Whoever writes the child can then still look at the parent, and finish."""
    (release,) = release_steps(facts(), frozenset({"add-foreign-key", "add-null-guard"}), parent_first=True)
    assert statements(release)[:3] == (
        'LOCK TABLE "public"."user" IN SHARE ROW EXCLUSIVE MODE',
        'LOCK TABLE "public"."post" IN ACCESS EXCLUSIVE MODE',
        'LOCK TABLE "public"."user" IN ACCESS EXCLUSIVE MODE',
    )
    assert isinstance(release.work, LockingSql)
    assert release.work.brief == statements(release)[1]
    assert release.lock == "ACCESS EXCLUSIVE on user, post"
    assert any("DROP FUNCTION" in statement for statement in statements(release))
    assert release.done(facts())
    assert not release.done(facts(foreign_keys=(KEY,)))
    assert not release.done(facts(guards=GUARDS))


def test_for_an_application_that_writes_the_child_first_the_child_is_locked_first() -> None:
    """On the way there and on the way back."""
    add = enforce_steps(facts(), parent_first=False)[0]
    (release,) = release_steps(facts(), frozenset({"add-foreign-key"}), parent_first=False)
    for step in (add, release):
        locks = [statement.split('"')[3] for statement in statements(step) if "LOCK TABLE" in statement]
        assert locks == ["post", "user"]


def test_unvalidate_gives_the_key_back_without_its_proof() -> None:
    """NULL allowed, helper gone, guard back, key exchanged, in one transaction."""
    ours = frozenset({"add-null-check", "validate", "set-not-null"})
    there = (Column("id", "bigint", nullable=False), Column("user_id", "bigint", nullable=False))
    validated = facts(columns=there, foreign_keys=(replace(KEY, validated=True),))
    (undo,) = unvalidate_steps(validated, ours, parent_first=True)
    shapes = ["LOCK"] * 3 + ["DROP NOT NULL", "nn_chk", "FUNCTION", "INSERT", "UPDATE", "DROP", "ADD"]
    assert len(statements(undo)) == len(shapes)
    assert all(shape in statement for shape, statement in zip(shapes, statements(undo), strict=True))
    assert statements(undo)[-1].endswith("NOT VALID")
    assert undo.done(facts(foreign_keys=(KEY,), guards=GUARDS))
    assert not undo.done(facts(foreign_keys=(KEY,)))
    assert not undo.done(validated)


def test_a_composite_key_remembers_which_columns_were_nullable() -> None:
    """In the names of its steps, by position."""
    reference = Reference.parse("city(country, region) -> region(country, code)")
    known = replace(facts(), reference=reference)
    assert null_step_name("set-not-null", known, ("country", "region")) == "set-not-null"
    name = null_step_name("set-not-null", known, ("region",))
    assert name == "set-not-null-2"
    assert null_step_columns("set-not-null", known, {name, "validate"}) == ("region",)
    assert null_step_columns("set-not-null", known, {"set-not-null"}) == ("country", "region")
    assert null_step_columns("add-null-check", known, {name}) == ()


def test_an_index_that_serves_is_enough_and_an_invalid_one_is_dropped_first() -> None:
    """Whatever the first is called; only one of our own name is ours to drop."""
    serves = Index("theirs", ("user_id", "title"))
    (build,) = index_steps(facts())
    assert build.done(facts(indexes=(serves,)))
    assert not build.done(facts(indexes=(replace(serves, valid=False),)))
    assert not build.done(facts(indexes=(replace(serves, partial=True),)))
    left = Index(REFERENCE.index_name, ("user_id",), valid=False)
    assert names(index_steps(facts(indexes=(left,)))) == ["drop-invalid-index", "create-index"]
    (drop,) = drop_index_steps(facts(), frozenset({"create-index"}))
    assert statements(drop) == ('DROP INDEX CONCURRENTLY IF EXISTS "public"."ix_post_user_id"',)


def partitioned(version: tuple[int, ...], **fk: Any) -> Facts:
    """A child of two partitions, one of which is partitioned again."""
    keys = (replace(KEY, **fk),) if fk else ()
    tree = (
        Partition(TableName("p1", "public"), POST, foreign_keys=keys),
        Partition(TableName("p2", "public"), POST, leaf=False),
        Partition(TableName("p2 a", "public"), TableName("p2", "public"), foreign_keys=keys),
    )
    return facts(version, kind="partitioned", extras={"partitions": tree})


def test_before_18_the_key_goes_to_each_partition_first() -> None:
    """And is attached to the whole when all of them are valid."""
    (key, _) = enforce_steps(partitioned((17, 10)), parent_first=True)
    added = [statement for statement in statements(key) if " ADD " in statement]
    assert [statement.split('"')[3] for statement in added] == ["p1", "p2 a"]
    steps = validate_steps(partitioned((17, 10), validated=False), parent_first=True)
    kinds = [step.name.split("-p")[0] for step in steps]
    assert kinds == [
        "add-null-check",
        "validate",
        "validate",
        "validate",
        "attach-foreign-key",
        "set-not-null",
    ]
    assert len(set(names(steps))) == len(steps)
    assert not statements(steps[-2])[-1].endswith("NOT VALID")


def test_18_adds_the_key_to_the_partitioned_table_itself() -> None:
    """NOT VALID is allowed there now."""
    (key, _) = enforce_steps(partitioned((18, 4)), parent_first=True)
    assert sum(" ADD " in statement for statement in statements(key)) == 1


def test_a_partitioned_index_is_built_leaf_by_leaf_and_attached() -> None:
    """CONCURRENTLY on the leaves, ON ONLY above them, innermost attached first."""
    *leaves, declare = index_steps(partitioned((15, 0)))
    assert all("CONCURRENTLY" in statements(leaf)[0] for leaf in leaves)
    assert len(leaves) == 2
    assert [statement.split(" ")[0:2] for statement in statements(declare)] == [
        ["CREATE", "INDEX"], ["CREATE", "INDEX"], ["ALTER", "INDEX"], ["ALTER", "INDEX"], ["ALTER", "INDEX"]
    ]  # fmt: skip
    assert statements(declare)[2].endswith('ATTACH PARTITION "public"."ix_p2_a_user_id_f21409"')


def test_words_survive_every_name() -> None:
    """Quotes are doubled, percent signs are not, literals and bodies hold anything."""
    assert pg_words.quote('a"b', "50%") == '"a""b"."50%"'
    assert pg_words.literal("it's") == "'it''s'"
    assert pg_words.literal("a\\b") == "E'a\\\\b'"
    assert pg_words.body("x $migrator$ y").startswith("$migrator_$")
    assert pg_words.slug(TableName("a b")) != pg_words.slug(TableName("a_b"))


@pytest.mark.parametrize(
    ("table", "column", "taken", "wanted"),
    [
        ("post", "user_id", (), "post_user_id_not_null"),
        ("post", "user_id", ("post_user_id_not_null",), "post_user_id_not_null1"),
        ("t" * 60, "c", (), "t" * 52 + "_c_not_null"),
        ("t" * 40, "c" * 40, (), "t" * 27 + "_" + "c" * 26 + "_not_null"),
    ],
)
def test_not_null_is_named_as_the_server_names_it(
    table: str, column: str, taken: tuple[str, ...], wanted: str
) -> None:
    """Cut to 63 bytes, the longer part first; a number behind it when the name is taken."""
    assert pg_words.not_null_name(table, column, taken) == wanted


def test_the_conflicts_of_locks_are_those_of_the_manual() -> None:
    """Symmetric, and ACCESS EXCLUSIVE conflicts with everything."""
    modes: list[pg_words.Mode] = [
        "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
        "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
    ]  # fmt: skip
    for one in modes:
        assert "AccessExclusiveLock" in pg_words.conflicting(one)
        for other in modes:
            there = pg_words.lock_name(other) in pg_words.conflicting(one)
            assert there == (pg_words.lock_name(one) in pg_words.conflicting(other))
    assert "RowExclusiveLock" not in pg_words.conflicting("SHARE UPDATE EXCLUSIVE")
    held: list[tuple[TableName, pg_words.Mode]] = [(POST, modes[5]), (USER, modes[5])]
    assert pg_words.lock_words(held) == "SHARE ROW EXCLUSIVE on post, user"
