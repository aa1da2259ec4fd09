"""The seeded blog, built once, and a fresh copy of it for each run, made by the server itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from migrator.blog.seed import seed
from tests.servers.database import Database


def build(database: Database, *, posts: int, users: int, share: float) -> None:
    """Fill an empty database with a legacy blog; `share` of the posts are orphans, half of them NULL."""
    with database.engine.begin() as connection:
        seed(connection, posts=posts, users=users, null_share=share / 2, dangling_share=share / 2)
    _past_everyone(database)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if database.family == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")


def _past_everyone(database: Database) -> None:
    """New users get keys that no post names: users who left had keys once, so the counter is past them."""
    with database.engine.begin() as connection:
        highest = connection.exec_driver_sql("SELECT max(user_id) FROM post").scalar_one()
        if database.family == "postgresql":
            connection.exec_driver_sql(
                f"""SELECT setval(pg_get_serial_sequence('"user"', 'id'), {int(highest)})"""
            )
        else:
            connection.exec_driver_sql(f"ALTER TABLE user AUTO_INCREMENT = {int(highest) + 1}")


@contextmanager
def copy_of(source: Database) -> Iterator[str]:
    """The URL of a copy that nobody has touched, dropped at the end."""
    if source.family == "postgresql":
        yield from _template(source)
        return
    with source.new_database() as copy:
        with copy.engine.begin() as connection:
            for table in ("user", "post"):
                there, here = f"`{source.name}`.`{table}`", f"`{table}`"
                connection.exec_driver_sql(f"CREATE TABLE {here} LIKE {there}")
                connection.exec_driver_sql(f"INSERT INTO {here} SELECT * FROM {there}")
                connection.exec_driver_sql(f"ANALYZE TABLE {here}")
        _past_everyone(copy)
        yield copy.url


def _template(source: Database) -> Iterator[str]:
    name = f"{source.name}_copy"
    admin = sa.create_engine(source.admin_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    source.engine.dispose()
    with admin.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{source.name}"')
    try:
        copy = sa.create_engine(sa.make_url(source.url).set(database=name), isolation_level="AUTOCOMMIT")
        with copy.connect() as connection:
            connection.exec_driver_sql("CHECKPOINT")
            connection.exec_driver_sql("ANALYZE")
        copy.dispose()
        yield sa.make_url(source.url).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.dispose()
