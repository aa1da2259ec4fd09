"""A blog whose posts have no key."""

from __future__ import annotations

import sqlalchemy as sa

from migrator.blog.seed import seed
from tests.conftest import Database


def keyless_blog(database: Database, posts: int) -> None:
    """Every post is there twice, and nothing names it."""
    with database.engine.begin() as connection:
        seed(connection, posts=posts, users=4, null_share=0.2, dangling_share=0.2)
        post = sa.Table("post", sa.MetaData(), autoload_with=connection)
        columns = [sa.Column(column.name, column.type) for column in post.columns]
        other = sa.Table("other", sa.MetaData(), *columns)
        other.create(connection)
        for _ in range(2):
            connection.execute(other.insert().from_select([column.name for column in columns], post.select()))
        post.drop(connection)
        connection.exec_driver_sql("ALTER TABLE other RENAME TO post")
