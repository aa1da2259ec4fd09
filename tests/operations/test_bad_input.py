"""Bad input: each a single line on stderr that says what to do, the right exit code, and nothing changed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from migrator import lock
from migrator.blog.seed import seed
from migrator.sessions import Sessions
from tests.conftest import Database
from tests.operations.commands import ROOT, alembic_process, assert_refused, migrator_process
from tests.operations.lifecycle import alembic, assert_same, own_objects, picture

POST_AUTHOR = "post.user_id -> user.id"
SERVERS = ("postgresql-18", "mysql", "mariadb")


@pytest.fixture
def blog(database: Database) -> Database:
    """Thirty posts, three without an author and three whose author is gone."""
    with database.engine.begin() as connection:
        seed(connection, posts=30, users=8, null_share=0.1, dangling_share=0.1)
    return database


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """Schema, rows and what is ours are the same afterwards."""
    before = picture(database)
    yield
    assert_same(before, picture(database))


# -- the reference ---------------------------------------------------------------------------------
@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("pots.user_id -> user.id", r"no table pots.*Hint: Did you mean post"),
        ("post.user_id -> usr.id", r"no table usr.*Hint: Did you mean user"),
        ("post.userid -> user.id", r"post.*userid.*Hint: .*user_id"),
        ("post.user_id -> user.key", r"user.*key.*Hint: .*id"),
        ("post.user_id > user.id", r"not a reference.*Hint: write it as"),
        ("post -> user", r"not a reference.*Hint: write it as"),
        ("post(user_id, title) -> user.id", r"names 2 column.*Hint: write it as"),
        ("", r"reference is empty.*Hint: write it as"),
        ("post.id -> post.id", r"ties each row to itself.*Hint: A self-reference"),
        ("post(user_id, user_id) -> user(id, id)", r"names a column twice.*Hint: write it as"),
    ],
)
def test_a_reference_that_makes_no_sense(blog: Database, reference: str, says: str) -> None:
    """An unknown table or column is named with the nearest known one; a malformed reference with an
    example."""
    with unchanged(blog):
        ended = migrator_process("plan", "--url", blog.url, "-r", reference)
    assert_refused(ended, 2, says)


@pytest.mark.engines("sqlite", *SERVERS)
def test_a_parent_key_that_is_not_unique(database: Database) -> None:
    """No foreign key can refer to it: said before anything is touched, with the index that mends it."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer), sa.Column("pk", sa.Integer, primary_key=True))
    sa.Table(
        "post", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("user_id", sa.Integer)
    )
    metadata.create_all(database.engine)
    alembic(database, "upgrade", "0001")
    with unchanged(database):
        ended = alembic_process(database.url, "upgrade", "head")
    assert_refused(
        ended, 4, r"user\W*\(\W*id\W*\) (is not unique|has no unique key).*Hint: .*UNIQUE", url=database.url
    )


@pytest.mark.engines("mysql", "mariadb")
def test_a_child_without_a_primary_key(database: Database) -> None:
    """Its rows cannot be named, so none of them could be given back; elsewhere they are by their address."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("post", metadata, sa.Column("id", sa.Integer), sa.Column("user_id", sa.Integer))
    metadata.create_all(database.engine)
    alembic(database, "upgrade", "0001")
    with unchanged(database):
        ended = alembic_process(database.url, "upgrade", "head")
    assert_refused(ended, 4, r"post\W* has no primary key.*Hint: ", url=database.url)


# -- the server ------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb"])
def test_a_server_that_cannot_be_reached(scheme: str) -> None:
    """Nobody listens there: host and port are named, by either command."""
    url = f"{scheme}://someone:s3cr3t@127.0.0.1:1/blog"
    for ended in (
        alembic_process(url, "upgrade", "head"),
        migrator_process("report", "--url", url, "-r", POST_AUTHOR),
    ):
        assert_refused(ended, 1, r"127\.0\.0\.1.*Hint: Check host and port", url=url)


@pytest.mark.engines(*SERVERS)
def test_a_wrong_password(database: Database) -> None:
    """The user is named, the password is not."""
    url = make_url(database.url).set(password="wr0ng-w0rd").render_as_string(hide_password=False)
    for ended in (
        alembic_process(url, "upgrade", "head"),
        migrator_process("report", "--url", url, "-r", POST_AUTHOR),
    ):
        assert_refused(ended, 1, r"Hint: Check user and password", url=url)


@contextmanager
def reader(database: Database) -> Iterator[str]:
    """The URL of a role that may read the blog and nothing else."""
    url = make_url(database.url)
    if database.family == "sqlite":
        yield f"sqlite:///file:{url.database}?mode=ro&uri=true"
        return
    name, word = f"reader_{uuid.uuid4().hex[:8]}", "r34d-0nly"
    admin = sa.create_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        if database.family == "postgresql":
            grants = [
                f"CREATE ROLE {name} LOGIN PASSWORD '{word}'",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
            ]
            drops = [f"DROP OWNED BY {name}", f"DROP ROLE {name}"]
        else:
            grants = [
                f"CREATE USER {name}@'%' IDENTIFIED BY '{word}'",
                f"GRANT SELECT ON {url.database}.* TO {name}@'%'",
            ]
            drops = [f"DROP USER {name}@'%'"]
        for statement in grants:
            connection.execute(sa.text(statement))
        try:
            yield url.set(username=name, password=word).render_as_string(hide_password=False)
        finally:
            for statement in drops:
                connection.execute(sa.text(statement))


@pytest.mark.engines("sqlite", *SERVERS)
def test_a_role_that_may_only_read(blog: Database) -> None:
    """It is told what it lacks; nothing has changed."""
    with unchanged(blog), reader(blog) as url:
        ended = alembic_process(url, "upgrade", "head")
        assert '(1142, "' not in ended.stderr  # the server's words, not a tuple of them
        assert_refused(ended, 4, r"migrator plan|read-only|lacks|GRANT", url=url)


# -- Alembic ---------------------------------------------------------------------------------------
@pytest.mark.engines("sqlite", "postgresql-18")
def test_a_database_at_an_unknown_revision(blog: Database) -> None:
    """It is another project's database, or a newer checkout's."""
    with blog.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('cafe1234')"))
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head")
    assert_refused(ended, 1, r"revision that is not among these.*cafe1234.*Hint: .*stamp", url=blog.url)


@pytest.mark.engines("sqlite")
def test_a_database_at_a_revision_and_one_below_it(blog: Database) -> None:
    """Somebody wrote into alembic_version: which line is right is for them to say, and how."""
    with blog.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('0001'), ('0003')"))
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head")
    assert_refused(ended, 1, r"0003 overlaps.*Hint: .*stamp --purge", url=blog.url)


@pytest.mark.engines("sqlite")
def test_two_heads(blog: Database, tmp_path: Path) -> None:
    """A branch beside ours: Alembic asks which one is meant."""
    text = (ROOT / "alembic.ini").read_text().replace("%(here)s/versions", f"{ROOT}/versions:{tmp_path}")
    ini = tmp_path / "alembic.ini"
    ini.write_text(text)
    (tmp_path / "beef.py").write_text("revision = 'beef'\ndown_revision = '0001'\n\ndef upgrade(): pass\n")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", config=ini)
    assert_refused(ended, 1, r"Multiple head revisions.*heads")


@pytest.mark.engines("sqlite", *SERVERS)
def test_a_second_upgrade_while_one_runs(blog: Database) -> None:
    """The second is refused at once and told that another run is at work."""
    with lock.hold(Sessions.of(blog.engine)):
        ended = alembic_process(blog.url, "upgrade", "head")
    assert_refused(ended, 4, r"Another run is at work.*Nothing was changed.*Hint: .*status", url=blog.url)
    assert own_objects(blog) == frozenset()


# -- arguments -------------------------------------------------------------------------------------
@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("on_danglin=delete", r"on_danglin= is not known.*Hint: Did you mean on_dangling"),
        ("nonsense=1", r"nonsense= is not known.*Hint: .*backfill_to"),
        ("on_null=drop", r"'drop' is no policy.*Hint: .*backfill.*delete"),
        ("batch_size=many", r"batch_size must be a whole number, not 'many'"),
        ("batch_size=0", r"batch_size must be above zero"),
        ("batch_size=-5", r"batch_size must be above zero"),
        ("batch_size=1.5", r"batch_size must be a whole number"),
        ("batch_size=1e3", r"batch_size must be a whole number"),
        ("max_orphan_share=2", r"max_orphan_share is a share between 0 and 1"),
        ("max_orphan_share=nan", r"max_orphan_share"),
        ("max_orphans=few", r"max_orphans must be a whole number, not 'few'"),
        ("max_orphans=-1", r"max_orphans must be above zero, not '-1'"),
        ("max_orphans=0.5", r"max_orphans must be a whole number"),
        ("max_unindexed_rows=-1", r"max_unindexed_rows must be above zero"),
        ("lock_timeout=soon", r"lock_timeout\w* must be a whole number"),
        ("pause_ms=", r"pause_ms must be a whole number"),
        ("parent_first=perhaps", r"parent_first must be yes or no"),
        ("backfill_to=4711", r"backfill_to=4711: user has no such row.*Hint: "),
        ("backfill_to=ann", r"backfill_to=ann.*Hint: "),
        ("backfill_to=1,2", r"backfill_to=1,2: user has no such row.*Hint: "),
        ("sentinel.usrname=x", r"user.*usrname.*Hint: .*username"),
        ("url=nonsense", r"URL cannot be read.*Hint: "),
    ],
)
def test_an_argument_that_makes_no_sense(blog: Database, argument: str, says: str) -> None:
    """A typing error never ends in a default; what is known, or near, is named."""
    alembic(blog, "upgrade", "0001")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", x=(argument,))
    assert_refused(ended, 2, says)


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("batch_size=many", r"batch_size must be a whole number"),
        ("on_null=frob", r"'frob' is no policy.*Hint: One of"),
        ("on_dangling=", r"'' is no policy.*Hint: One of"),
    ],
)
def test_a_value_that_is_wrong_in_any_database_stops_before_the_first_revision(
    blog: Database, argument: str, says: str
) -> None:
    """Not even the revision is applied that does not read it."""
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", x=(argument,))
    assert_refused(ended, 2, says)


@pytest.mark.engines("postgresql-18", "mysql", "mariadb")
@pytest.mark.parametrize("key", ["ann", "1abc", "99999999999999999999", "1.5", "''"])
def test_a_backfill_key_that_is_no_key(blog: Database, key: str) -> None:
    """Text for a number is an error on every server: none takes the digits it begins with, or 0."""
    alembic(blog, "upgrade", "0001")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", x=(f"backfill_to={key}",))
    assert_refused(ended, 4, r"backfill_to=.*Hint: ", url=blog.url)


# -- the share, and the number ---------------------------------------------------------------------
@pytest.mark.engines("sqlite", *SERVERS)
def test_more_orphans_than_are_allowed(blog: Database) -> None:
    """A fifth of the posts are orphans: the run stops before the first change, and says which share would
    let it through; that share does."""
    alembic(blog, "upgrade", "0001")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", x=("max_orphan_share=0.1",))
    assert_refused(
        ended,
        4,
        r"6 of 30 rows.*more than max_orphan_share=0\.1.*Hint: .*max_orphan_share=0\.20\b",
        url=blog.url,
    )
    ended = alembic_process(blog.url, "upgrade", "head", x=("max_orphan_share=0.20",))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.engines("sqlite", *SERVERS)
def test_more_orphans_than_a_stated_number(blog: Database) -> None:
    """Six of the posts are orphans and five are allowed, by the environment: the run stops before the first
    change, and says which number would let it through; that number does."""
    alembic(blog, "upgrade", "0001")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", environment={"MIGRATOR_MAX_ORPHANS": "5"})
    assert_refused(
        ended,
        4,
        r"6 of 30 rows.*more than max_orphans=5\. Nothing was changed.*Hint: .*with -x max_orphans=6\.",
        url=blog.url,
    )
    ended = alembic_process(blog.url, "upgrade", "head", x=("max_orphans=6",))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.engines("sqlite")
def test_more_orphans_than_either_bound_allows(blog: Database) -> None:
    """Both are named, with both words that would let the run through; and together they do."""
    alembic(blog, "upgrade", "0001")
    with unchanged(blog):
        ended = alembic_process(blog.url, "upgrade", "head", x=("max_orphans=1", "max_orphan_share=0.193"))
    said = r"max_orphan_share=0\.193 and max_orphans=1\. .*-x max_orphan_share=0\.20 -x max_orphans=6\."
    assert_refused(ended, 4, said, url=blog.url)
    ended = alembic_process(blog.url, "upgrade", "head", x=("max_orphans=6", "max_orphan_share=0.20"))
    assert ended.returncode == 0, ended.stderr
