"""The application: writers and readers in processes of their own, each operation timed.

An operation is one transaction of what a blog does: insert a post; insert a user and a post in one
transaction; update a title, once and twice in a transaction; delete a user without posts; read posts with
their authors. Each is logged with its start, its latency and its error number.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

# A pause between two operations, in seconds: an application waits for people; a loop without one would
# measure how two cores are shared and not what a migration holds up.
THINK = 0.010


#: What a careless application does, and what it is told once the constraints are there.
ORPHAN = "insert orphan"
INTENDED = ("23502", "23503", "23514", "1048", "1452", "1644")


@dataclass(frozen=True)
class Operation:
    """One operation: when it began (epoch seconds), how long it took (seconds), and its error, if any."""

    began: float
    took: float
    name: str
    error: str = ""


@dataclass(frozen=True)
class Application:
    """The running writers; `stop` ends them and hands over what they logged."""

    processes: Sequence[multiprocessing.Process]
    stopping: Event
    log: Queue[list[Operation]]

    def stop(self) -> list[Operation]:
        """End the writers; every operation of all of them, in the order they began."""
        self.stopping.set()
        found = [operation for _ in self.processes for operation in self.log.get(timeout=120)]
        for process in self.processes:
            process.join(timeout=60)
        return sorted(found, key=lambda operation: operation.began)


@contextmanager
def application(
    url: str, *, writers: int, posts: int, users: int, careless: bool = False
) -> Iterator[Application]:
    """Start the writers; they are at work when this is entered.

    Args:
        url: the database, with its password.
        writers: how many processes.
        posts, users: the highest keys of the seeded blog, among which rows are picked.
        careless: whether they insert posts without an author as well, and of authors who are not there.
    """
    context = multiprocessing.get_context("spawn")
    ready: Queue[int] = context.Queue()
    stopping = context.Event()
    log: Queue[list[Operation]] = context.Queue()
    processes = [
        context.Process(
            target=_work, args=(url, number, posts, users, careless, ready, stopping, log), daemon=True
        )
        for number in range(writers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=60)
    yield Application(processes, stopping, log)  # type: ignore[arg-type]
    stopping.set()


def _work(
    url: str, number: int, posts: int, users: int, careless: bool, ready: Any, stopping: Any, log: Any
) -> None:
    engine = sa.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=False)
    chance = random.Random(number)
    writer = _Writer(chance, number, posts, users, careless=careless)
    done: list[Operation] = []
    with engine.connect() as connection:
        ready.put(number)
        while not stopping.is_set():
            name, operation = writer.choose()
            began, clock = time.time(), time.perf_counter()
            error = ""
            try:
                operation(connection)
                connection.commit()
            except sa.exc.DBAPIError as failure:
                error = _number(failure)
                connection.rollback()
            done.append(Operation(began, time.perf_counter() - clock, name, error))
            time.sleep(THINK * chance.random() * 2)
    log.put(done)
    engine.dispose()


def _number(error: sa.exc.DBAPIError) -> str:
    """PostgreSQL's SQLSTATE; MySQL's and MariaDB's own number, of which many share a SQLSTATE."""
    arguments = getattr(error.orig, "args", ())
    if arguments and isinstance(arguments[0], int):
        return str(arguments[0])
    return str(getattr(error.orig, "sqlstate", None) or type(error.orig).__name__)


class _Writer:
    """Picks operations; makes users of its own to delete."""

    def __init__(self, chance: random.Random, number: int, posts: int, users: int, *, careless: bool) -> None:
        self._chance = chance
        self._number = number
        self._posts = posts
        self._users = users
        self._made = 0
        self._lonely: list[str] = []
        self._operations: list[tuple[int, str, Callable[[Connection], None]]] = [
            (25, "insert post", self.insert_post),
            (10, "insert user and post", self.insert_both),
            (20, "update title", self.update_once),
            (10, "update title twice", self.update_twice),
            (5, "insert lonely user", self.insert_user),
            (5, "delete user without posts", self.delete_user),
            (25, "read by author", self.read),
        ]
        if careless:
            self._operations.append((5, ORPHAN, self.insert_orphan))

    def choose(self) -> tuple[str, Callable[[Connection], None]]:
        """The next operation."""
        weights = [weight for weight, _, _ in self._operations]
        ((_, name, operation),) = self._chance.choices(self._operations, weights)
        return name, operation

    def _user(self, connection: Connection) -> str:
        self._made += 1
        name = f"w{self._number}-{self._made}-{time.time_ns()}"
        connection.execute(_INSERT_USER, {"name": name, "mail": f"{name}@load.invalid"})
        return name

    def _author(self, connection: Connection) -> int | None:
        found = connection.execute(_SOME_USER, {"this_id": self._chance.randint(1, self._users)}).scalar()
        return int(found) if found is not None else None

    def insert_post(self, connection: Connection) -> None:
        """A post of someone who is there."""
        author = self._author(connection)
        connection.execute(_INSERT_POST, {"author": author, "new_title": "a new post"})

    def insert_orphan(self, connection: Connection) -> None:
        """A post of nobody, or of someone who is not there: let in until the constraint is."""
        author = self._chance.choice((None, self._users + 1_000_000_000))
        connection.execute(_INSERT_POST, {"author": author, "new_title": "an orphan"})

    def insert_both(self, connection: Connection) -> None:
        """A user and their first post in one transaction: parent, then child."""
        name = self._user(connection)
        author = connection.execute(_USER_BY_NAME, {"name": name}).scalar()
        connection.execute(_INSERT_POST, {"author": author, "new_title": "a first post"})

    def update_once(self, connection: Connection) -> None:
        """A title changes."""
        connection.execute(_UPDATE, {"this_id": self._chance.randint(1, self._posts), "new_title": "once"})

    def update_twice(self, connection: Connection) -> None:
        """An ORM that flushes twice: the same row, twice in one transaction."""
        key = self._chance.randint(1, self._posts)
        connection.execute(_UPDATE, {"this_id": key, "new_title": "first"})
        connection.execute(_UPDATE, {"this_id": key, "new_title": "second"})

    def insert_user(self, connection: Connection) -> None:
        """A user who will never post."""
        self._lonely.append(self._user(connection))

    def delete_user(self, connection: Connection) -> None:
        """A user without posts goes."""
        if self._lonely:
            connection.execute(_DELETE, {"name": self._lonely.pop(0)})

    def read(self, connection: Connection) -> None:
        """Posts with their authors. By the post's key: without an index on user_id each would read the table,
        and beside that no migration would be noticed."""
        connection.execute(_READ, {"this_id": self._chance.randint(1, self._posts)}).all()


_USER = sa.table("user", sa.column("id"), sa.column("username"), sa.column("email"))
_POST = sa.table(
    "post",
    sa.column("id"),
    sa.column("title"),
    sa.column("body"),
    sa.column("timestamp"),
    sa.column("user_id"),
)
_INSERT_USER = sa.insert(_USER).values(username=sa.bindparam("name"), email=sa.bindparam("mail"))
_SOME_USER = (
    sa.select(_USER.c.id)
    .where(_USER.c.id >= sa.bindparam("this_id", type_=sa.Integer))
    .order_by(_USER.c.id)
    .limit(1)
)
_USER_BY_NAME = sa.select(_USER.c.id).where(_USER.c.username == sa.bindparam("name", type_=sa.String))
_INSERT_POST = sa.insert(_POST).values(
    title=sa.bindparam("new_title"),
    body="body",
    timestamp=sa.func.now(),
    user_id=sa.bindparam("author", type_=sa.Integer),
)
_UPDATE = (
    sa.update(_POST)
    .where(_POST.c.id == sa.bindparam("this_id", type_=sa.Integer))
    .values(title=sa.bindparam("new_title", type_=sa.String))
)
_DELETE = sa.delete(_USER).where(_USER.c.username == sa.bindparam("name", type_=sa.String))
_READ = (
    sa.select(_POST.c.id, _POST.c.title, _USER.c.username)
    .select_from(_POST.outerjoin(_USER, _USER.c.id == _POST.c.user_id))
    .where(
        _POST.c.id.between(
            sa.bindparam("this_id", type_=sa.Integer), sa.bindparam("this_id", type_=sa.Integer) + 5
        )
    )
)
