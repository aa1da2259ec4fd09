"""Tables without any key: rows are named by where they lie, and found again by all that is in them."""

from __future__ import annotations

import threading
from io import StringIO
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from migrator.errors import PreflightRefused, Refused, TooManyOrphans
from migrator.offline import write_script
from migrator.operate import Policies, operate
from migrator.operations import SweepOrphans
from migrator.plainsql import run_plain
from migrator.plan import Operation
from migrator.policy import Backfill, CreateParents, Delete, Expression, Policy, SetNull
from migrator.reference import Reference
from migrator.settings import Settings
from tests.conftest import Database
from tests.operations.keyless_desk import keyless_blog
from tests.operations.lifecycle import FAST, UP, assert_same, picture
from tests.operations.lifecycle import run as operations
from tests.operations.orphan_cases import fill, key, table
from tests.operations.policy_desk import rows
from tests.operations.reporting import check_schema
from tests.operations.reporting import run as command

REFERENCE = Reference.parse("visit.user_id -> user.id")
NULLABLE = Reference.parse("visit.user_id -> user.id", nullable=True)
#: Some rows are each other's equals, some differ in NULL and '' only.
VISITS: list[tuple[int | None, str | None]] = [
    *([(99, "same")] * 9),
    *([(None, "same")] * 5),
    (98, None),
    (98, ""),
    (97, "a,b"),
    (97, 'q"(\\'),
    *([(1, "same")] * 11),
    (2, None),
    *((number % 3 + 1, f"page {number}") for number in range(20)),
]
WITH_ADDRESSES = ("sqlite", "postgresql")


def visits(database: Database) -> None:
    """Users and their visits; nothing names a visit."""
    engine = database.engine
    fill(engine, table(engine, "user", key("id")), [{"id": number} for number in (1, 2, 3)])
    made = table(engine, "visit", sa.Column("user_id", sa.Integer), sa.Column("page", sa.Text))
    fill(engine, made, [{"user_id": user, "page": page} for user, page in VISITS])


def there(database: Database) -> list[tuple[Any, ...]]:
    """All visits."""
    return [(row["user_id"], row["page"]) for row in rows(database.engine, "visit", "user_id", "page")]


def after(on_null: Any, on_dangling: Any) -> list[tuple[Any, ...]]:
    """The visits as a sweep must leave them: `-` for one that goes."""
    found = [(on_null if user is None else on_dangling if user > 3 else user, page) for user, page in VISITS]
    return sorted((each for each in found if each[0] != "-"), key=repr)


def statement(database: Database, *texts: str) -> None:
    """What the application does."""
    with database.engine.begin() as connection:
        for text in texts:
            assert connection.exec_driver_sql(text).rowcount != 0


def do(database: Database, *operation: Operation, settings: Settings = FAST) -> list[Any]:
    """Some of the operations, with everything backfilled to the first user."""
    return operations(
        database.engine, operation, REFERENCE, Backfill(to=1), Backfill(to=1), settings=settings
    )


@pytest.mark.engines(*WITH_ADDRESSES, "postgresql-15")
@pytest.mark.parametrize(
    ("reference", "on_null", "on_dangling", "left"),
    [
        (REFERENCE, Delete(), Delete(), after("-", "-")),
        (REFERENCE, Backfill(to=1), Backfill(to=2), after(1, 2)),
        (REFERENCE, Delete(), Expression("CASE WHEN page = 'same' THEN 2 ELSE 3 END"), None),
        (NULLABLE, None, SetNull(), after(None, None)),
    ],
    ids=["delete", "backfill", "expression", "set-null"],
)
def test_up_and_down_is_the_identity(
    database: Database,
    reference: Reference,
    on_null: Policy | None,
    on_dangling: Policy,
    left: list[tuple[Any, ...]] | None,
) -> None:
    """Equal rows are told apart by their place, restored by their number; and all of it a second time."""
    visits(database)
    before = picture(database)
    for _ in range(2):
        operations(database.engine, UP, reference, on_null, on_dangling)
        if left is not None:
            assert sorted(there(database), key=repr) == sorted(left, key=repr)
        operations(database.engine, ("unvalidate", "release", "restore"), reference)
        assert_same(before, picture(database))


@pytest.mark.engines(*WITH_ADDRESSES)
def test_rows_that_moved_since_are_found_by_what_is_in_them(database: Database) -> None:
    """The application rewrites every row, or the whole table."""
    visits(database)
    before = picture(database)
    do(database, "sweep")
    if database.family == "postgresql":
        statement(database, "UPDATE visit SET page = page")
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM FULL visit")
    else:
        statement(database, "CREATE TABLE other AS SELECT * FROM visit ORDER BY page DESC")
        statement(database, "DELETE FROM visit", "INSERT INTO visit SELECT * FROM other")
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE other")
    (counts,) = operations(database.engine, ("restore",), REFERENCE)
    assert counts["restored"] == 18
    assert counts["conflicts"] == 0
    assert_same(before, picture(database))


@pytest.mark.engines(*WITH_ADDRESSES)
def test_a_row_the_application_changed_is_a_conflict(database: Database) -> None:
    """No other row is taken for it, and as many equal rows are given back as were changed."""
    visits(database)
    do(database, "sweep")
    statement(database, "UPDATE visit SET page = 'mine' WHERE page = 'a,b'")
    (counts,) = operations(database.engine, ("restore",), REFERENCE)
    assert (counts["restored"], counts["conflicts"]) == (17, 1)
    found = there(database)
    assert (1, "mine") in found
    assert [found.count((user, "same")) for user in (99, None, 1)] == [9, 5, 11]
    told = command("quarantine", "restore", "--url", database.url, "--all", "--format", "json")
    check_schema(told.json)
    (conflict,) = told.json["conflicts"]
    assert conflict["conflict"] == "row-gone"
    assert conflict["row"] == {"user_id": 97, "page": "a,b"}
    place = "ctid" if database.family == "postgresql" else "rowid"
    assert list(conflict["key"]) == [place]


@pytest.mark.engines(*WITH_ADDRESSES)
def test_a_run_that_was_stopped_goes_on_past_rows_that_moved(database: Database) -> None:
    """The list holds places where other rows lie by then; each is looked at again, and so is the table."""
    visits(database)
    before = picture(database)
    listed = Settings(**{**vars(FAST), "max_orphan_share": 0.1})
    with pytest.raises(TooManyOrphans):
        do(database, "sweep", settings=listed)
    assert_same(before, picture(database))

    class Stopped(Exception):
        pass

    class AfterTheFirstBatch:
        def step(self, name: str, title: str) -> None: ...

        def note(self, message: str) -> None: ...

        def rows(self, what: str, done: int, total: int | None) -> None:
            if what.startswith("sweep"):
                raise Stopped

    policies = Policies(Delete(), Delete())
    with pytest.raises(Stopped):
        operate(
            database.engine,
            "sweep",
            REFERENCE,
            policies=policies,
            settings=FAST,
            progress=AfterTheFirstBatch(),
        )
    gone = len(VISITS) - len(there(database))
    assert 0 < gone < 18
    if database.family == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM FULL visit")
    else:
        statement(database, "UPDATE visit SET rowid = rowid + 1000")
    operate(database.engine, "sweep", REFERENCE, policies=policies, settings=FAST)
    assert sorted(there(database), key=repr) == after("-", "-")
    operations(database.engine, ("restore",), REFERENCE)
    assert_same(before, picture(database))


@pytest.mark.engines(*WITH_ADDRESSES)
def test_the_report_names_rows_by_their_place(database: Database) -> None:
    """In JSON and in CSV; that there is no key is a finding, and no high one."""
    visits(database)
    place = "ctid" if database.family == "postgresql" else "rowid"
    words = ["report", "--url", database.url, "-r", str(REFERENCE), "--limit", "1"]
    (found,) = command(*words, "--format", "json").json["references"]
    (sample,) = found["samples"]["dangling"]
    assert sample == {"key": {place: "(0,1)" if place == "ctid" else 1}, "value": {"user_id": 99}}
    severities = {finding["slug"]: finding["severity"] for finding in found["findings"]}
    assert severities["no-key"] == "low"
    assert f"key:{place}" in command(*words, "--format", "csv").out.splitlines()[0]


@pytest.mark.engines(*WITH_ADDRESSES)
def test_what_wants_a_key_is_refused(database: Database) -> None:
    """A created parent is proved by the rows that named it, which are not found again."""
    visits(database)
    before = picture(database)
    with pytest.raises(Refused, match="create-parents wants rows that are found again by a key"):
        operations(database.engine, ("sweep",), REFERENCE, Delete(), CreateParents())
    assert_same(before, picture(database))


@pytest.mark.engines("mysql", "mariadb")
def test_without_an_address_it_is_refused(database: Database) -> None:
    """These servers show nobody where a row lies; the fix is in the hint."""
    visits(database)
    before = picture(database)
    with pytest.raises(PreflightRefused, match="its rows cannot be named") as refused:
        do(database, "sweep")
    assert "ADD" in (refused.value.hint or "")
    assert_same(before, picture(database))


@pytest.mark.engines("sqlite")
def test_a_column_that_is_called_rowid_is_no_address(database: Database) -> None:
    """It hides the address, and its values may be anything."""
    visits(database)
    statement(database, "ALTER TABLE visit ADD COLUMN RowId INTEGER")
    with pytest.raises(PreflightRefused, match="its rows cannot be named"):
        do(database, "sweep")


@pytest.mark.engines(*WITH_ADDRESSES)
def test_a_trigger_that_changes_what_is_given_back(database: Database) -> None:
    """It is kept from it where it can be, and has its way where it cannot."""
    visits(database)
    before = picture(database)
    do(database, "sweep")
    if database.family == "sqlite":
        return
    statement(
        database,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.page := upper(NEW.page); RETURN NEW; END $$",
        "CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON visit FOR EACH ROW EXECUTE FUNCTION shout()",
    )
    operations(database.engine, ("restore",), REFERENCE)
    statement(database, "DROP TRIGGER shout ON visit", "DROP FUNCTION shout()")
    assert_same(before, picture(database))


@pytest.mark.engines(*WITH_ADDRESSES)
@pytest.mark.parametrize("policy", [Delete(), Backfill(to=1)], ids=["delete", "backfill"])
def test_the_exported_statements_put_the_rows_back(database: Database, policy: Policy) -> None:
    """Each statement takes one of the rows that are as we left them; a row is shown by its place."""
    visits(database)
    before = there(database)
    operations(database.engine, ("sweep",), REFERENCE, policy, policy)
    told = command("quarantine", "export", "--url", database.url, "--format", "sql")
    lines = [line for line in told.out.splitlines() if line and not line.startswith("--")]
    assert len(lines) == 18
    with database.engine.begin() as connection:
        for line in lines:
            assert run_plain(connection, line).rowcount == 1
    assert there(database) == before
    place = "ctid=(0,1)" if database.family == "postgresql" else "rowid=1"
    shown = command(
        "quarantine", "show", "--url", database.url, "--key", place, "--whole", "--format", "json"
    )
    assert shown.code == 0, shown.err
    assert [row["row"] for row in shown.json["rows"]] == [{"user_id": 99, "page": "same"}]


@pytest.mark.engines("postgresql")
def test_a_row_that_moves_while_a_batch_waits_for_it(database: Database) -> None:
    """The batch waits for whoever has the row, finds another place or nothing, and looks again."""
    visits(database)
    before = there(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE visit SET page = page || '!' WHERE user_id = 99")
        connection.exec_driver_sql("UPDATE visit SET user_id = 2 WHERE page = 'a,b'")
        ending = threading.Timer(0.6, connection.commit)
        ending.start()
        settings = Settings(**{**vars(FAST), "lock_timeout_ms": 5000})
        policies = Policies(Delete(), Delete())
        counts = operate(database.engine, "sweep", REFERENCE, policies=policies, settings=settings)
        ending.join()
    assert counts["changed"] == 17
    assert (2, "a,b") in there(database)
    assert not [user for user, _ in there(database) if user not in (1, 2, 3)]
    operations(database.engine, ("restore",), REFERENCE)
    moved = [
        (user, f"{page}!" if user == 99 else page) if page != "a,b" else (2, page) for user, page in before
    ]
    assert sorted(there(database), key=repr) == sorted(moved, key=repr)


@pytest.mark.engines(*WITH_ADDRESSES)
def test_a_script_is_refused(database: Database) -> None:
    """It would have to follow rows that move."""
    visits(database)
    dialect: Any = database.engine.dialect
    context = MigrationContext.configure(
        dialect=type(dialect)(), opts={"as_sql": True, "output_buffer": StringIO()}
    )
    policies = Policies(Delete(), Delete())
    with pytest.raises(PreflightRefused, match="a script cannot follow its rows"):
        write_script(context, SweepOrphans(REFERENCE), policies, FAST, {"url": database.url})


@pytest.mark.engines(*WITH_ADDRESSES)
def test_the_drill_takes_such_a_table_up_and_down(database: Database) -> None:
    """Every row is compared, however many are each other's equals."""
    keyless_blog(database, posts=30)
    ran = command("drill", "--url", database.url, "--format", "json")
    assert ran.code == 0, ran.err
    acts = {act["slug"]: act["status"] for act in ran.json["acts"]}
    assert {acts[name] for name in ("compare", "again")} == {"passed"}
