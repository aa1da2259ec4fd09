"""The blog as it should be: the models the audit asked for."""

from datetime import datetime

from sqlalchemy import ForeignKey, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, DynamicMapped, Mapped, mapped_column, relationship

from migrator.blog.clock import utc_now
from migrator.blog.columns import EMAIL_LENGTH, NAMING, TITLE_LENGTH, USERNAME_LENGTH, Timestamp


class Base(DeclarativeBase):
    """The base of the corrected models; its metadata is what the database should look like."""

    metadata = MetaData(naming_convention=NAMING)


class User(Base):
    """Someone who writes posts."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH), unique=True)

    # Left to itself, the ORM answers the deletion of a user by setting post.user_id to NULL, which is how
    # posts lost their authors. With "all" it touches no post, and the database refuses the deletion.
    posts: DynamicMapped["Post"] = relationship(
        back_populates="author", order_by="Post.id", passive_deletes="all"
    )

    def __repr__(self) -> str:
        return f"User(id={self.id!r}, username={self.username!r})"


class Post(Base):
    """Something a user wrote, at a time, in UTC."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    body: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[datetime] = mapped_column(Timestamp, default=utc_now)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

    author: Mapped[User] = relationship(back_populates="posts")

    def __repr__(self) -> str:
        return f"Post(id={self.id!r}, title={self.title!r}, user_id={self.user_id!r})"
