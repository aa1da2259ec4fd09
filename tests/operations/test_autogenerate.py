"""What SQLAlchemy does not reflect fails `alembic check`; what is ours never shows up in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations import Operations
from alembic.operations.ops import ModifyTableOps
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from migrator import journal
from migrator.autogenerate import ValidateConstraint
from migrator.blog.models import Base
from tests.servers.database import Database

# Alembic hands a NOT VALID check's reflected options on to SQLAlchemy, which does not know the word.
pytestmark = pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")

PLUGINS = ["alembic.autogenerate.*", "migrator"]


def _send(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(sa.text(statement))


@contextmanager
def _differences(
    database: Database, metadata: sa.MetaData = Base.metadata, **options: object
) -> Iterator[list[tuple[Any, ...]]]:
    with database.engine.connect() as connection:
        opts = {"autogenerate_plugins": PLUGINS} | options
        context = MigrationContext.configure(connection, opts=opts)
        script = produce_migrations(context, metadata)
        assert script.upgrade_ops is not None
        yield list(script.upgrade_ops.as_diffs())


@pytest.mark.parametrize("plugins", [PLUGINS, PLUGINS[:1]], ids=["ours", "an environment's of its own"])
def test_our_own_tables_are_nobodys_difference(database: Database, plugins: list[str]) -> None:
    """A journal in the database makes autogenerate propose nothing, also where nobody has told it of us."""
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        journal.ensure(connection)
    with _differences(database, autogenerate_plugins=plugins) as found:
        assert found == []


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize("kind", ["foreign key", "check"])
def test_a_constraint_that_is_not_validated_is_a_difference(database: Database, kind: str) -> None:
    """NOT VALID is reported with the statement that validates it, and the statement mends it."""
    definition = {"foreign key": 'FOREIGN KEY (user_id) REFERENCES "user" (id)', "check": "CHECK (id > 0)"}[
        kind
    ]
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        if kind == "foreign key":
            connection.execute(sa.text("ALTER TABLE post DROP CONSTRAINT fk_post_user_id_user"))
        name = "fk_post_user_id_user" if kind == "foreign key" else "ck"
        connection.execute(sa.text(f"ALTER TABLE post ADD CONSTRAINT {name} {definition} NOT VALID"))
    with _differences(database) as found:
        assert [difference[:3] for difference in found] == [("validate_constraint", kind, name)]
        statement = str(found[0][3])
    with database.engine.begin() as connection:
        connection.execute(sa.text(statement))
    with _differences(database) as found:
        assert found == []


@pytest.mark.engines("postgresql>=18")
def test_a_constraint_that_is_not_enforced_is_a_difference(database: Database) -> None:
    """It checks nothing, and VALIDATE is refused; the statement has it check new rows, after which it is one
    that is not validated. So is a NOT NULL that is there and not validated."""
    definition = 'fk_post_user_id_user FOREIGN KEY (user_id) REFERENCES "user" (id) NOT ENFORCED'
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(sa.text("ALTER TABLE post DROP CONSTRAINT fk_post_user_id_user"))
        connection.execute(sa.text(f"ALTER TABLE post ADD CONSTRAINT {definition}"))
        connection.execute(sa.text("ALTER TABLE post ALTER user_id DROP NOT NULL"))
        connection.execute(sa.text("ALTER TABLE post ADD CONSTRAINT nn NOT NULL user_id NOT VALID"))
    verbs = []
    for _ in range(2):
        with _differences(database) as found:
            verbs.append([str(difference[0]) for difference in found])
        with database.engine.begin() as connection:
            for difference in found:
                connection.execute(sa.text(str(difference[3])))
    assert [sorted(each) for each in verbs] == [
        ["enforce_constraint", "validate_constraint"],
        ["validate_constraint"],
    ]
    with _differences(database) as found:
        assert found == []


@pytest.mark.engines("postgresql")
def test_an_invalid_index_is_a_difference(database: Database) -> None:
    """An index that a failed CONCURRENTLY left is reported; a model that has it sees no other change."""
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(
            sa.text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_post_user_id'::regclass")
        )
    with _differences(database) as found:
        assert ("rebuild_index", "index", "ix_post_user_id") in [difference[:3] for difference in found]


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize("unique", [False, True])
def test_an_invalid_index_of_a_partitioned_table_is_mended(database: Database, unique: bool) -> None:
    """REINDEX leaves it INVALID: each partition gets an index, and it is attached. Partitions of partitions,
    one whose index is attached already, names and expressions that need quoting."""
    metadata = sa.MetaData()
    sa.Table(
        "Log Book",
        metadata,
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("id", "day")),
        sa.Column("what", sa.Text),
        sa.Index(
            "Of Them",
            "id",
            sa.text("day DESC"),
            sa.text("lower(what)"),
            unique=unique,
            postgresql_where=sa.text("what <> ' USING x'"),
        ),
    )
    made = f"CREATE {'UNIQUE ' if unique else ''}INDEX"
    what = "USING btree (id, day DESC, lower(what)) WHERE what <> ' USING x'"
    with database.engine.begin() as connection:
        _send(
            connection,
            'CREATE TABLE "Log Book" (id integer NOT NULL, day integer NOT NULL, what text)'
            " PARTITION BY RANGE (id)",
            'CREATE TABLE low PARTITION OF "Log Book" FOR VALUES FROM (MINVALUE) TO (10)',
            'CREATE TABLE "Mid" PARTITION OF "Log Book" FOR VALUES FROM (10) TO (20) PARTITION BY LIST (day)',
            'CREATE TABLE mid_one PARTITION OF "Mid" FOR VALUES IN (1)',
            'CREATE TABLE mid_rest PARTITION OF "Mid" DEFAULT',
            'CREATE TABLE high PARTITION OF "Log Book" FOR VALUES FROM (20) TO (MAXVALUE)',
            'INSERT INTO "Log Book" SELECT n, n % 3, n FROM generate_series(1, 30) n',
            f'{made} "Of Them" ON ONLY "Log Book" {what}',
            f'{made} "already" ON high {what}',
            'ALTER INDEX "Of Them" ATTACH PARTITION "already"',
        )
    named = ("rebuild_index", "index", "Of Them")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        context = MigrationContext.configure(connection, opts={"autogenerate_plugins": PLUGINS})
        script = produce_migrations(context, metadata)
        assert script.upgrade_ops is not None
        assert named in [each[:3] for each in script.upgrade_ops.as_diffs()]
        for table in script.upgrade_ops.ops:
            for operation in table.ops if isinstance(table, ModifyTableOps) else ():
                if isinstance(operation, ValidateConstraint):
                    for statement in operation.statements:
                        connection.execute(sa.text(statement))
        again = produce_migrations(context, metadata).upgrade_ops
        assert again is not None
        assert named not in [each[:3] for each in again.as_diffs()]
        assert connection.execute(sa.text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")).scalar() == 0


@pytest.mark.engines("postgresql")
def test_what_is_found_renders_as_a_revision(database: Database) -> None:
    """`alembic revision --autogenerate` writes statements that run, each outside a transaction, between the
    other differences; afterwards there are none."""
    with database.engine.begin() as connection:
        Base.metadata.create_all(connection)
        _send(
            connection,
            "ALTER TABLE post DROP CONSTRAINT fk_post_user_id_user",
            'ALTER TABLE post ADD CONSTRAINT fk_post_user_id_user FOREIGN KEY (user_id) REFERENCES "user"'
            " NOT VALID",
            r"""ALTER TABLE post ADD CONSTRAINT "ck 5% \:x" CHECK (id > 0) NOT VALID""",
            'ALTER TABLE "user" ADD note text',
            'ALTER TABLE "user" ADD CONSTRAINT ck CHECK (id > 0) NOT VALID',
        )
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"autogenerate_plugins": PLUGINS})
        script = produce_migrations(context, Base.metadata)
        assert script.upgrade_ops is not None
        body = f"def upgrade():\n    {render_python_code(script.upgrade_ops)}"
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        namespace: dict[str, Any] = {"op": Operations(context), "sa": sa}
        exec(compile(body, "revision", "exec"), namespace)  # noqa: S102 - as Alembic does with the file
        with context.begin_transaction():
            namespace["upgrade"]()
    assert body.count("VALIDATE CONSTRAINT") == body.count("autocommit_block()") == 3
    with _differences(database) as found:
        assert found == []


@pytest.mark.engines("postgresql>=18")
def test_what_goes_is_not_proved_first(database: Database) -> None:
    """A key, an index, a NOT NULL that the model no longer has: the difference is that they are dropped."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "post", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("user_id", sa.Integer)
    )
    with database.engine.begin() as connection:
        metadata.create_all(connection)
        _send(
            connection,
            'ALTER TABLE post ADD CONSTRAINT gone FOREIGN KEY (user_id) REFERENCES "user" NOT VALID',
            "ALTER TABLE post ADD CONSTRAINT nn NOT NULL user_id NOT VALID",
            "CREATE INDEX ix_gone ON post (user_id)",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_gone'::regclass",
        )
    with _differences(database, metadata) as found:
        verbs = sorted(str(each[0]) if isinstance(each, tuple) else str(each[0][0]) for each in found)
    assert verbs == ["modify_nullable", "remove_fk", "remove_index"]


@pytest.mark.engines("postgresql")
def test_what_is_meant_or_left_out_is_no_difference(database: Database) -> None:
    """A model may say that its key is not validated, and an environment that it does not look at one."""
    metadata = sa.MetaData()
    sa.Table("user", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table(
        "post",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="meant", postgresql_not_valid=True),
    )
    with database.engine.begin() as connection:
        metadata.create_all(connection)
        _send(
            connection,
            "ALTER TABLE post DROP CONSTRAINT meant",
            'ALTER TABLE post ADD CONSTRAINT meant FOREIGN KEY (user_id) REFERENCES "user" NOT VALID',
            'ALTER TABLE post ADD CONSTRAINT by_hand FOREIGN KEY (user_id) REFERENCES "user" NOT VALID',
            "CREATE INDEX by_hand_too ON post (user_id)",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_hand_too'::regclass",
        )

    def looked_at(_object: object, name: str | None, *_: object) -> bool:
        return not str(name).startswith("by_hand")

    with _differences(database, metadata, include_object=looked_at) as found:
        assert found == []


@pytest.mark.engines("postgresql")
def test_an_invalid_index_with_nothing_left_to_attach_is_made_anew(database: Database) -> None:
    """The partition that lacked one was dropped: no ATTACH can have the server look again."""
    metadata = sa.MetaData()
    sa.Table("log", metadata, sa.Column("id", sa.Integer), sa.Index("ix_log_id", "id"))
    with database.engine.begin() as connection:
        _send(
            connection,
            "CREATE TABLE log (id integer) PARTITION BY RANGE (id)",
            "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10)",
            "CREATE INDEX ix_log_id ON ONLY log (id)",
            "DROP TABLE log_1",
        )
    for expected in (["rebuild_index"], []):
        with _differences(database, metadata) as found:
            assert [str(each[0]) for each in found] == expected
        with database.engine.begin() as connection:
            for each in found:
                for statement in str(each[3]).split("; "):
                    connection.execute(sa.text(statement))
