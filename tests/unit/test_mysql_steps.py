"""The plans of MySQL and MariaDB: the statements, their order, what each finds done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import pytest
from sqlalchemy.dialects.mysql import dialect as sa_dialect

from migrator.catalog import Index
from migrator.dialects.mariadb import MariaDB
from migrator.dialects.mysql import MySQL
from migrator.dialects.mysql_rebuild import rebuild_clause
from migrator.dialects.mysql_words import guard_names, pairs, supporting_index
from migrator.plan import Sql, Step
from migrator.reference import Reference, TableName
from tests.unit.mysql_facts import GUARDS, INDEX, REFERENCE, column, enforced, facts, table, validated

MYSQL, MARIADB = MySQL(sa_dialect()), MariaDB(sa_dialect())
ALL_OURS = frozenset({"create-index", "add-null-guard", "add-foreign-key", "set-not-null", "drop-null-guard"})


def names(steps: Iterable[Step]) -> list[str]:
    """The names of steps."""
    return [step.name for step in steps]


def sql(step: Step) -> Sql:
    """The SQL of a step."""
    assert isinstance(step.work, Sql)
    return step.work


def test_enforce_guards_against_null_before_it_adds_the_key() -> None:
    """A NULL passes a foreign key, so the guard must stand first."""
    there = replace(enforced(facts()), guards=())
    assert names(MYSQL.enforce_steps(there)) == ["add-null-guard", "add-foreign-key"]


def test_the_key_is_added_with_checks_off_and_they_are_put_back_whatever_happens() -> None:
    """The checks are off for one statement, on one connection."""
    work = sql(MYSQL.enforce_steps(facts())[-1])
    assert work.statements == (
        "SET SESSION foreign_key_checks = 0",
        "ALTER TABLE `post` ADD CONSTRAINT `fk_post_user_id_user` FOREIGN KEY (`user_id`) "
        "REFERENCES `user` (`id`), ALGORITHM=INPLACE, LOCK=NONE",
    )
    assert work.settle[-1] == "SET SESSION foreign_key_checks = 1"
    assert (work.mode, work.patience) == ("autocommit", "short")


@pytest.mark.parametrize("dialect", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
def test_the_parent_is_locked_first_through_a_view_where_the_childs_name_is_the_first(dialect: MySQL) -> None:
    """LOCK TABLES goes by the names; what a view stands on comes after them."""
    work = sql(dialect.enforce_steps(facts(dialect.family))[-1])
    made, locked = work.courtesy
    view = locked.removeprefix("LOCK TABLES `user` WRITE, ").removesuffix(" WRITE")
    assert view.startswith("`migrator_fence_")
    assert made == (f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {view} AS SELECT `user_id` FROM `post`")
    assert work.settle[:2] == ("UNLOCK TABLES", f"DROP VIEW IF EXISTS {view}")


def test_no_view_is_made_where_the_parents_name_is_the_first() -> None:
    """The order of the names is the right one then."""
    reference = Reference.parse("post.user_id -> author.id")
    there = facts("mysql", reference=reference)
    work = sql(MYSQL.enforce_steps(replace(there, parent=replace(there.parent, name=reference.parent)))[-1])
    assert work.courtesy == ("LOCK TABLES `author` WRITE, `post` WRITE",)
    assert work.settle[0] == "UNLOCK TABLES"


def test_mariadb_fences_the_parent_in_any_case() -> None:
    """With the checks off its ALTER takes no lock on the parent; MySQL's does by itself."""
    work = sql(MARIADB.enforce_steps(facts("mariadb", (11, 8, 9)))[-1])
    assert work.otherwise == ("LOCK TABLES `post` WRITE, `user` READ",)
    assert sql(MYSQL.enforce_steps(facts())[-1]).otherwise == ()


def test_mariadb_locks_a_self_reference_once() -> None:
    """One table is locked under one name, for writing."""
    reference = Reference.parse("post.user_id -> post.id", nullable=True)
    there = facts("mariadb", (11, 8, 9), reference)
    work = sql(MARIADB.enforce_steps(replace(there, parent=there.child))[-1])
    assert work.courtesy == ("LOCK TABLES `post` WRITE",)


def test_the_guard_lets_old_nulls_be_updated() -> None:
    """The update trigger fires only where a value becomes NULL."""
    insert, update = sql(MYSQL.enforce_steps(facts())[1]).statements
    assert "BEFORE INSERT ON `post` FOR EACH ROW IF NEW.`user_id` IS NULL THEN" in insert
    assert "IF (NEW.`user_id` IS NULL AND OLD.`user_id` IS NOT NULL) THEN" in update
    assert "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1048" in insert


def test_the_guard_may_be_left_out_where_triggers_are_denied() -> None:
    """1419 is `denied`; the run goes on."""
    assert MYSQL.enforce_steps(facts())[1].optional == {"denied"}


def test_an_old_server_without_if_not_exists_drops_the_trigger_first() -> None:
    """Each statement can be sent again by itself on every version."""
    statements = sql(MYSQL.enforce_steps(facts(version=(8, 0, 28)))[1]).statements
    assert [s.split("`")[0] for s in statements] == ["DROP TRIGGER IF EXISTS ", "CREATE TRIGGER "] * 2


def test_guards_of_two_references_that_read_alike_have_different_names() -> None:
    """A trigger's name is unique in its database."""
    one = guard_names(Reference.parse("post.user_id -> user.id"))
    two = guard_names(Reference.parse("post_user.id -> user.id"))
    assert not set(one) & set(two)
    assert all(
        len(name) <= 64 for name in guard_names(Reference.parse("p" * 60 + "." + "c" * 60 + " -> u.id"))
    )


def test_a_nullable_reference_has_no_guard_and_no_rebuild() -> None:
    """NULL is right there; validating it is a proof alone."""
    there = facts(reference=replace(REFERENCE, nullable=True))
    assert names(MYSQL.enforce_steps(there)) == ["create-key-index", "add-foreign-key"]
    assert MYSQL.validate_steps(there) == ()


def test_not_null_restates_the_whole_column() -> None:
    """What MODIFY leaves out is lost."""
    definition = "int unsigned DEFAULT '7' COMMENT 'who'"
    child = table("post", column("id", nullable=False), column("user_id", definition=definition))
    step = MYSQL.validate_steps(facts(child=child))[0]
    assert sql(step).statements == (
        "ALTER TABLE `post` MODIFY `user_id` int unsigned DEFAULT '7' COMMENT 'who' NOT NULL, "
        "ALGORITHM=INPLACE, LOCK=NONE",
    )
    assert (sql(step).patience, step.violation) == ("long", "sweep")


def test_every_step_finds_its_own_work_done() -> None:
    """Done-checks read the catalog as it is after the step."""
    for dialect, there in ((MYSQL, facts()), (MARIADB, facts("mariadb", (10, 11, 18)))):
        assert all(not step.done(there) for step in dialect.index_steps(there))
        assert all(not step.done(there) for step in dialect.enforce_steps(there))
        assert all(step.done(enforced(there)) for step in dialect.index_steps(there))
        assert all(step.done(enforced(there)) for step in dialect.enforce_steps(there))
        assert [step.done(enforced(there)) for step in dialect.validate_steps(there)] == [False, False]
        assert all(step.done(validated(there)) for step in dialect.validate_steps(there))
        back = dialect.unvalidate_steps(validated(there), ALL_OURS)
        assert names(back) == ["restore-null-guard", "drop-not-null"]
        assert all(not step.done(validated(there)) for step in back)
        assert all(step.done(enforced(there)) for step in back)
        released = dialect.release_steps(enforced(there), ALL_OURS)
        assert names(released) == ["drop-foreign-key", "remove-null-guard"]
        assert all(not step.done(enforced(there)) for step in released)
        assert all(step.done(there) for step in released)
        dropped = dialect.drop_index_steps(enforced(there), ALL_OURS)
        assert [step.done(enforced(there)) for step in dropped] == [False]
        assert [step.done(there) for step in dropped] == [True]


def test_the_way_back_touches_nothing_that_is_not_ours() -> None:
    """Whatever was there before we came stays."""
    nothing: frozenset[str] = frozenset()
    there = validated(facts())
    assert MYSQL.unvalidate_steps(there, nothing) == ()
    assert MYSQL.release_steps(there, nothing) == ()
    assert MYSQL.drop_index_steps(there, nothing) == ()


def test_a_guard_that_never_was_does_not_come_back() -> None:
    """On an account without triggers nothing was dropped, so nothing is restored."""
    ours = ALL_OURS - {"drop-null-guard"}
    assert names(MYSQL.unvalidate_steps(validated(facts()), ours)) == ["drop-not-null"]


COMPOSITE = Reference.parse("city(region, country) -> region(code, country)")


def composite(*, nullable: tuple[bool, bool]) -> tuple[object, ...]:
    """Columns of a city whose region and country may be NULL or not."""
    return (
        column("id", nullable=False),
        column("region", nullable=nullable[0]),
        column("country", nullable=nullable[1]),
    )


def region() -> object:
    """The parent, whose key begins with the country."""
    return table(
        "region",
        column("country", nullable=False),
        column("code", nullable=False),
        primary_key=("country", "code"),
    )


def test_a_composite_key_is_declared_in_the_order_of_the_parents_key() -> None:
    """InnoDB wants an index on each side whose first columns stand in the key's order."""
    child = table("city", *composite(nullable=(True, True)))  # type: ignore[arg-type]
    there = facts(reference=COMPOSITE, child=child, parent=region())  # type: ignore[arg-type]
    assert pairs(there) == (("country", "region"), ("country", "code"))
    assert "FOREIGN KEY (`country`, `region`) REFERENCES `region` (`country`, `code`)" in str(
        sql(MYSQL.enforce_steps(there)[-1]).statements
    )
    other_way = Index("ix_city_region_country", ("region", "country"))
    assert supporting_index(replace(there, child=replace(child, indexes=(other_way,)))) is None


def test_only_the_columns_that_were_nullable_are_made_so_again() -> None:
    """The step's name says which they were."""
    child = table("city", *composite(nullable=(False, True)))  # type: ignore[arg-type]
    there = facts(reference=COMPOSITE, child=child, parent=region())  # type: ignore[arg-type]
    steps = MYSQL.validate_steps(there)
    assert names(steps)[0] == "set-not-null-2"
    assert "`region`" not in sql(steps[0]).statements[0]
    back = MYSQL.unvalidate_steps(there, frozenset({"set-not-null-2"}))
    assert sql(back[0]).statements == (
        "ALTER TABLE `city` MODIFY `country` int NULL, ALGORITHM=INPLACE, LOCK=NONE",
    )


@pytest.mark.parametrize(
    ("family", "version", "extra", "expected"),
    [
        ("mysql", (9, 7, 4), None, "ALGORITHM=INPLACE, LOCK=NONE"),
        ("mysql", (9, 7, 4), "stored", "ALGORITHM=INPLACE, LOCK=NONE"),
        ("mysql", (9, 7, 4), "fulltext", None),
        ("mariadb", (11, 8, 9), "fulltext", "ALGORITHM=COPY, LOCK=NONE"),
        ("mariadb", (11, 8, 9), "stored", "ALGORITHM=COPY, LOCK=NONE"),
        ("mariadb", (11, 8, 9), "cascade", None),
        ("mariadb", (10, 11, 18), "stored", None),
    ],
)
def test_the_rebuild_is_online_or_refused(
    family: Literal["mysql", "mariadb"], version: tuple[int, ...], extra: str | None, expected: str | None
) -> None:
    """MariaDB from 11.2 on copies online what it cannot rebuild in place, unless a key cascades."""
    there = facts(family, version)
    child = there.child
    if extra == "fulltext":
        child = replace(child, indexes=(*child.indexes, Index("ft", ("body",), kind="fulltext")))
    if extra in ("stored", "cascade"):
        child = replace(child, columns=(*child.columns, column("g", generated="stored")))
    reference = replace(REFERENCE, on_delete="CASCADE") if extra == "cascade" else REFERENCE
    assert rebuild_clause(replace(there, child=child, reference=reference)) == expected


def test_names_are_quoted_in_every_statement() -> None:
    """Reserved words, blanks, percent signs and backticks are names like any other."""
    reference = Reference.parse('blog."or`der 100%".user_id -> blog.user.id')
    child = replace(table("post", column("id", nullable=False), column("user_id")), name=reference.child)
    there = facts(reference=reference, child=child)
    every = [*MYSQL.index_steps(there), *MYSQL.enforce_steps(there), *MYSQL.validate_steps(there)]
    for step in every:
        for statement in sql(step).statements:
            assert "`blog`.`or``der 100%`" in statement or statement.startswith(("SET ", "DROP TRIGGER"))


def test_each_step_says_what_it_locks_and_blocks() -> None:
    """A plan that is silent about its locks is no plan."""
    there = facts("mariadb", (11, 8, 9))
    for step in (*MARIADB.index_steps(there), *MARIADB.enforce_steps(there), *MARIADB.validate_steps(there)):
        assert "child" in step.lock
        assert step.blocks != "nothing"


def test_the_index_that_leads_with_the_columns_serves_whatever_its_name() -> None:
    """No second index is built beside it."""
    there = facts()
    child = replace(there.child, indexes=(Index("mine", ("user_id", "body")),))
    assert MYSQL.index_steps(there)[0].done(replace(there, child=child))
    assert INDEX.name == REFERENCE.index_name
    assert guard_names(Reference(TableName("post"), ("user_id",), TableName("user"), ("id",))) == GUARDS
