"""The blog as it was audited, faults included. The tables of a database that was never migrated.

Three faults, each kept on purpose:

- `Post.timestamp` has a default that was computed once, when this module was imported, so that every post
  of one process start carries the same instant.
- `Post.user_id` is a plain integer: nothing stops it from being NULL or from naming nobody.
- `User.posts` knows its posts and a post does not know its author.

Everything else is as in `models`, so that a migrated legacy database and a new one have the same schema.
"""

from datetime import UTC, datetime

from sqlalchemy import MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, DynamicMapped, Mapped, foreign, mapped_column, relationship

from migrator.blog.columns import EMAIL_LENGTH, NAMING, TITLE_LENGTH, USERNAME_LENGTH, Timestamp


class Base(DeclarativeBase):
    """The base of the audited models, apart from the corrected ones: both use the same table names."""

    metadata = MetaData(naming_convention=NAMING)


class User(Base):
    """Someone who writes posts."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH), unique=True)

    # The fault: one way only. Deleting a user through the ORM makes its posts NULL, deleting it with a
    # DELETE statement leaves them dangling.
    posts: DynamicMapped["Post"] = relationship(primaryjoin=lambda: User.id == foreign(Post.user_id))


class Post(Base):
    """Something a user wrote, with a time that cannot be trusted."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    body: Mapped[str] = mapped_column(Text)
    # The fault: a value where a callable belongs.
    timestamp: Mapped[datetime] = mapped_column(Timestamp, default=datetime.now(UTC).replace(tzinfo=None))
    # The fault: no reference, no NOT NULL, no index.
    user_id: Mapped[int | None]
