"""A delete wants an index behind each foreign key that leads to what goes: where the server made none, a
small table is worth a warning, a big one a refusal that prints the statement; and the statement mends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa

from migrator import restore_orphans, sweep_orphans
from migrator.blog.seed import seed
from migrator.errors import PreflightRefused
from migrator.policy import Backfill, Chain, Delete, Expression, Policy
from migrator.reference import Reference
from migrator.settings import Settings
from tests.conftest import Database
from tests.operations.commands import alembic_process, assert_refused, migrator_process
from tests.operations.lifecycle import FAST, assert_same, picture
from tests.operations.test_dependants import make, post, refers

REFERENCE = Reference.parse("post.user_id -> user.id")
#: A table of three rows is big.
BIG = replace(FAST, max_unindexed_rows=2)
CASCADE = "ON DELETE CASCADE"


@dataclass
class Told:
    """A `Progress` that remembers notes."""

    notes: list[str] = field(default_factory=list)

    def step(self, name: str, title: str) -> None:
        """Nothing."""

    def rows(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Remembered."""
        self.notes.append(message)


def thread(database: Database, *more: str, votes: int = 1) -> None:
    """An orphaned post with a reply, on which there are votes; each table refers to the one before it."""
    make(
        database,
        post(),
        refers("reply", "post", CASCADE, *more),
        refers("vote", "reply", CASCADE),
        post=[(1, 1), (2, 99)],
        reply=[(1, 2)],
        vote=[(number, 1) for number in range(1, votes + 1)],
    )


def sweep(database: Database, dangling: Policy, settings: Settings = FAST) -> list[str]:
    """Sweep; returns what was said."""
    told = Told()
    sweep_orphans(
        REFERENCE,
        on_null=Backfill(to=1),
        on_dangling=dangling,
        bind=database.engine,
        settings=settings,
        progress=told,
    )
    return [note for note in told.notes if "reads all of" in note]


def execute(database: Database, statement: str) -> None:
    """As an operator would, outside any transaction."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.engines("sqlite", "postgresql")
def test_small_tables_without_an_index_are_warned_of(database: Database) -> None:
    """Each foreign key on the way to what goes is named, however far off, with the statement that helps."""
    thread(database)
    replies, votes = sweep(database, Delete())
    assert "reply refers to " in replies
    assert "by fk_reply_parent_id and has no index that begins with parent_id" in replies
    assert "vote refers to " in votes
    assert "CREATE INDEX" in votes


@pytest.mark.engines("sqlite", "postgresql")
def test_a_big_table_without_an_index_stops_a_delete(database: Database) -> None:
    """Before anything is changed, with the statement, which mends it."""
    thread(database, votes=3)
    start = picture(database)
    with pytest.raises(PreflightRefused, match=r"reads all of .*vote, which has more than 2 rows") as refused:
        sweep(database, Delete(), BIG)
    assert refused.value.exit_code == 4
    assert_same(start, picture(database))
    statement, _, rest = str(refused.value.hint).partition(";")
    assert rest == " Or allow it with -x max_unindexed_rows=0."
    assert statement.startswith("CREATE INDEX CONCURRENTLY " if database.family == "postgresql" else "CREATE")
    execute(database, statement)
    mended = picture(database)
    assert len(sweep(database, Delete(), BIG)) == 1  # the replies are few
    restore_orphans(REFERENCE, bind=database.engine, settings=FAST)
    assert_same(mended, picture(database))


@pytest.mark.engines("sqlite", "postgresql")
def test_a_big_table_may_be_allowed(database: Database) -> None:
    """With the bound lifted it is a warning."""
    thread(database, votes=3)
    assert len(sweep(database, Delete(), replace(BIG, max_unindexed_rows=0))) == 2


@pytest.mark.engines("sqlite", "postgresql")
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX another ON reply (parent_id, id)",
        "CREATE UNIQUE INDEX another ON reply (parent_id)",
    ],
    ids=["begins-with-it", "unique"],
)
def test_any_index_that_begins_with_the_columns_will_do(database: Database, statement: str) -> None:
    """Whatever its name, and whether it was meant for this."""
    thread(database)
    execute(database, statement)
    (votes,) = sweep(database, Delete())
    assert "vote refers to " in votes


@pytest.mark.engines("sqlite", "postgresql")
def test_a_key_that_is_the_reference_will_do(database: Database) -> None:
    """A primary key that begins with the foreign key's columns; on SQLite it may be the row's own number."""
    make(
        database,
        post(),
        f"CREATE TABLE body (id INTEGER PRIMARY KEY REFERENCES post (id) {CASCADE})",
        post=[(1, 1), (2, 99)],
        body=[(1,), (2,)],
    )
    assert sweep(database, Delete()) == []


@pytest.mark.engines("sqlite", "postgresql")
def test_a_partial_index_will_not_do(database: Database) -> None:
    """It may leave out the very rows that are looked for."""
    thread(database)
    execute(database, "CREATE INDEX partly ON reply (parent_id) WHERE id > 5")
    assert len(sweep(database, Delete())) == 2


@pytest.mark.engines("sqlite", "postgresql")
def test_what_protects_a_row_is_looked_for_as_well(database: Database) -> None:
    """RESTRICT is checked for each row that goes, too."""
    make(
        database,
        post(),
        refers("reply", "post", "ON DELETE RESTRICT"),
        post=[(1, 1), (2, 99)],
        reply=[(1, 1)],
    )
    assert len(sweep(database, Delete())) == 1


@pytest.mark.engines("sqlite", "postgresql")
def test_nothing_is_said_where_nothing_is_deleted(database: Database) -> None:
    """A backfill removes no row; at the end of a chain, a delete may."""
    thread(database, votes=3)
    assert sweep(database, Backfill(to=1), BIG) == []
    restore_orphans(REFERENCE, bind=database.engine, settings=FAST)
    with pytest.raises(PreflightRefused, match="max_unindexed_rows"):
        sweep(database, Chain(Expression("NULL"), Delete()), BIG)


@pytest.mark.engines("mysql", "mariadb")
def test_innodb_has_made_the_index_itself(database: Database) -> None:
    """There is nothing to say, however big the table."""
    thread(database, votes=3)
    assert sweep(database, Delete(), BIG) == []


@pytest.mark.engines("sqlite", "postgresql-18")
def test_the_commands_say_it_too(database: Database) -> None:
    """`migrator plan` lists it; `alembic` ends with the statement, unless it is allowed."""
    with database.engine.begin() as connection:
        seed(connection, posts=20, users=4, null_share=0.2, dangling_share=0.25)
        reply = "CREATE TABLE reply (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES post (id))"
        connection.execute(sa.text(reply))
        connection.execute(sa.text("INSERT INTO reply SELECT id, NULL FROM post"))
    planned = migrator_process(
        "plan", "--url", database.url, "-r", str(REFERENCE), "--on-dangling", "delete", "--format", "json"
    )
    assert planned.returncode == 0, planned.stderr
    (found,) = json.loads(planned.stdout)["references"][0]["problems"]
    assert (found["severity"], found["slug"]) == ("warn", "inbound-index")
    said = ("on_dangling=delete", "max_unindexed_rows=19")
    ended = alembic_process(database.url, "upgrade", "head", x=said)
    pattern = r"reply, which has more than 19 rows.*Hint: CREATE INDEX .*-x max_unindexed_rows=0\."
    assert_refused(ended, 4, pattern, url=database.url)
    ended = alembic_process(database.url, "upgrade", "head", x=(*said[:1], "max_unindexed_rows=0"))
    assert ended.returncode == 0, ended.stderr
