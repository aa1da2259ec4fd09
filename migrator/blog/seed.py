"""A legacy blog of any size, the same every time, of which every count is known beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from random import Random
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, inspect, select

from migrator.blog import legacy
from migrator.blog.bulk import insert_rows
from migrator.errors import Refused, UsageError

_FIRST_START: Final = datetime(2024, 1, 1, 8, 0, 0)
_LONGEST_RUN: Final = timedelta(days=30)

# Users who left last are well above those who stayed: a new user, such as the sentinel author of a
# backfill, is given the next key after the highest there is, and must not inherit someone's posts.
_GAP: Final = 1_000

_TOPICS: Final = ("Notes", "Questions", "A letter", "Ideas", "Thoughts", "More", "News", "100% true")
_SUBJECTS: Final = ("bread", "gardens", "O'Brien's boat", 'a "quiet" town', "trains", "café tables", "rain")
_SENTENCE: Final = "It was worth writing down before it was forgotten, and so here it is."


@dataclass(frozen=True, slots=True)
class SeedCounts:
    """What a seeded blog holds, counted as `migrator report` counts it.

    Attributes:
        rows: posts in all.
        valid: posts whose author is there.
        null: posts whose author is NULL.
        dangling: posts whose author is not there.
        missing_parents: distinct authors who are named by posts and not there.
    """

    rows: int
    valid: int
    null: int
    dangling: int
    missing_parents: int


class _Authors(NamedTuple):
    present: list[int]
    missing: list[int]


def seed(
    connection: Connection,
    *,
    posts: int = 20_000,
    users: int = 2_000,
    null_share: float = 0.01,
    dangling_share: float = 0.01,
    posts_per_missing_author: int = 5,
    starts: int = 12,
    seed: int = 1,
) -> SeedCounts:
    """Fill a legacy blog in the caller's transaction, creating its tables where they are not there.

    The same arguments give the same rows, on every engine. Half of the missing authors left a hole among
    the keys of those who stayed, the others are above the highest of them. Posts come in `starts` clusters
    of differing size, each of one process start, all posts of a cluster with the same timestamp.

    Args:
        connection: an open connection; the caller commits. MySQL and MariaDB commit by themselves when a
            table is created.
        posts: how many posts to write.
        users: how many users are there, missing authors not counted.
        null_share: the share of posts without an author, 0 to 1.
        dangling_share: the share of posts whose author is missing, 0 to 1.
        posts_per_missing_author: how many posts each missing author wrote; the last may have fewer.
        starts: how often the blog's process was started, and so how many timestamps there are.
        seed: another number gives another blog of the same counts.

    Returns:
        The exact counts of what was written.

    Raises:
        UsageError: an argument is out of its range.
        Refused: the blog has rows already, so that no count could be promised.
    """
    _check_arguments(posts, users, null_share, dangling_share, posts_per_missing_author, starts)
    null = round(posts * null_share)
    dangling = min(round(posts * dangling_share), posts - null)
    missing = ceil(dangling / posts_per_missing_author)
    counts = SeedCounts(posts, posts - null - dangling, null, dangling, missing)
    if counts.valid and not users:
        raise UsageError("users must be at least 1 when some posts have an author")

    user_table, post_table = _create_empty_tables(connection)
    random = Random(seed)
    authors = _authors(random, users, missing)
    insert_rows(connection, user_table, _user_rows(authors.present))
    insert_rows(connection, post_table, _post_rows(random, counts, authors, starts))
    return counts


def _check_arguments(
    posts: int,
    users: int,
    null_share: float,
    dangling_share: float,
    posts_per_missing_author: int,
    starts: int,
) -> None:
    if posts < 0 or users < 0:
        raise UsageError("posts and users must not be negative")
    if min(null_share, dangling_share) < 0 or null_share + dangling_share > 1:
        raise UsageError("null_share and dangling_share must be 0 or more, and 1 or less together")
    if posts_per_missing_author < 1 or starts < 1:
        raise UsageError("posts_per_missing_author and starts must be at least 1")


def _create_empty_tables(connection: Connection) -> tuple[Table, Table]:
    metadata = legacy.Base.metadata
    tables = metadata.tables["user"], metadata.tables["post"]
    there = set(inspect(connection).get_table_names())
    for table in tables:
        if table.name in there and connection.execute(select(table.c.id).limit(1)).first():
            raise Refused(
                f'The table "{table.name}" has rows already.', hint="Seed a database whose blog is empty."
            )
    metadata.create_all(connection)
    return tables


def _authors(random: Random, users: int, missing: int) -> _Authors:
    # The first and the last key are kept, so that a hole has someone on both sides.
    holes = missing // 2 if users >= 2 else 0
    highest = users + holes
    gone = set(random.sample(range(2, highest), holes)) if holes else set()
    above = range(highest + _GAP, highest + _GAP + missing - holes)
    return _Authors([key for key in range(1, highest + 1) if key not in gone], [*sorted(gone), *above])


def _user_rows(keys: list[int]) -> Iterator[tuple[int, str, str]]:
    for key in keys:
        yield key, f"user{key}", f"user{key}@example.com"


def _post_rows(
    random: Random, counts: SeedCounts, authors: _Authors, starts: int
) -> Iterator[tuple[int, str, str, datetime, int | None]]:
    user_ids = _user_ids(random, counts, authors)
    timestamps = _timestamps(random, counts.rows, starts)
    for key, (user_id, timestamp) in enumerate(zip(user_ids, timestamps, strict=True), start=1):
        title = f"{_TOPICS[key % len(_TOPICS)]} on {_SUBJECTS[key % len(_SUBJECTS)]}"
        yield key, title, f"{title}, number {key}. {_SENTENCE}", timestamp, user_id


def _user_ids(random: Random, counts: SeedCounts, authors: _Authors) -> Iterator[int | None]:
    """Draw each post's author without replacement from the counts, so that they come out exactly."""
    present, missing = authors
    null, dangling = counts.null, counts.dangling
    for remaining in range(counts.rows, 0, -1):
        draw = random.random() * remaining
        if draw < null:
            null -= 1
            yield None
        elif draw < null + dangling:
            dangling -= 1
            yield missing[dangling % len(missing)]
        else:
            # Squared, because on every blog a few write most of the posts.
            yield present[int(random.random() ** 2 * len(present))]


def _timestamps(random: Random, posts: int, starts: int) -> Iterator[datetime]:
    """Give the timestamps of posts in order of writing: each process start has one, frozen at import."""
    clusters = min(starts, posts)
    ends = [*sorted(random.sample(range(1, posts), clusters - 1)), posts] if clusters else []
    instant, written = _FIRST_START, 0
    for end in ends:
        instant += timedelta(microseconds=random.randrange(1, _LONGEST_RUN // timedelta(microseconds=1)))
        for _ in range(end - written):
            yield instant
        written = end
