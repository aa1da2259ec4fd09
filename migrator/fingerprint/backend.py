"""What a database has to supply for its fingerprint: the interface every per-database module fills in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, FromClause, column, func, literal_column, select, table

from migrator.fingerprint.model import KeyValue, PartDigest, Shape


class Fact(NamedTuple):
    """A line about one object. `owner` is the relation it hangs on; the object's own name where it stands
    alone. Only `owner` is shown to `ignore`: what is attached to a user's table is always reported."""

    kind: str
    schema: str | None
    owner: str
    name: str
    line: str

    @property
    def object(self) -> str:
        """The key under which the line is filed, such as `trigger public.post.stamp`."""
        names = [self.owner] if self.owner == self.name else [self.owner, self.name]
        return f"{self.kind} {'.'.join(names if self.schema is None else [self.schema, *names])}"


class RowSums(NamedTuple):
    """One row: its part, its key as values and as the number k, its hash h, and its cells' hashes."""

    part: int
    key: tuple[KeyValue, ...]
    number: int
    hash: int
    cells: tuple[int, ...]


class Backend(ABC):
    """One kind of database. Instances hold no state; every method wants the settings `snapshot` makes."""

    name: str

    @contextmanager
    def beside(self, connection: Connection, count: int, *, still: bool) -> Iterator[Sequence[Connection]]:
        """Further connections that see what this one's snapshot sees; none where the server knows no way.

        Args:
            connection: inside its snapshot.
            count: as many are wanted; fewer may be had.
            still: whether nobody writes, so that any two snapshots are the same.
        """
        yield ()

    def ranges(self, connection: Connection, shape: Shape, count: int) -> Sequence[tuple[int, int]]:
        """Cut a table into about so many ranges, which several connections read at once; none where it is
        read in one. What they mean is the backend's own."""
        return ()

    def session(self, connection: Connection) -> int:
        """The number by which the server knows a connection."""
        raise NotImplementedError  # asked only of who has others beside it

    def call_off(self, connection: Connection, session: int) -> None:
        """End the statement that another session runs, if it runs one."""
        raise NotImplementedError

    @abstractmethod
    def snapshot(self, connection: Connection) -> AbstractContextManager[None]:
        """Read one consistent state of the data, read-only, with values written out in one fixed form.

        Locks taken: those of plain reads. A connection already in a transaction keeps it, and with it its
        isolation; otherwise a transaction is opened and rolled back at the end.
        """

    @abstractmethod
    def facts(self, connection: Connection, schema: str | None) -> Iterator[Fact]:
        """Yield every line of the schema's canonical text, an object's lines in their order."""

    @abstractmethod
    def counters(self, connection: Connection, schema: str | None) -> Mapping[str, int]:
        """Return sequences' and AUTO_INCREMENT columns' current values by name."""

    @abstractmethod
    def tables(self, connection: Connection, schema: str | None) -> Sequence[Shape]:
        """Return the tables whose rows are to be digested, sorted by label."""

    @abstractmethod
    def part_sums(
        self,
        connection: Connection,
        shape: Shape,
        part_count: int,
        between: tuple[int, int] | None = None,
    ) -> Iterator[tuple[int, PartDigest]]:
        """Yield the number and the sums of every part that has rows, in one pass over the table.

        Args:
            between: one of the `ranges` to read; None for all of it.
        """

    @abstractmethod
    def row_sums(
        self, connection: Connection, shape: Shape, part_count: int, chosen: Collection[int] | None = None
    ) -> Iterator[RowSums]:
        """Yield the hashes of every row, or of the rows in the `chosen` parts."""

    def source(self, shape: Shape) -> FromClause:
        """Return the table as something to select from."""
        return table(shape.name, *(column(c.name) for c in shape.columns), schema=shape.schema)

    def rows_up_to(self, connection: Connection, shape: Shape, limit: int) -> int:
        """Count the rows, but no further than `limit`: a big table costs no more than a small one."""
        some = (
            select(literal_column("1").label("one")).select_from(self.source(shape)).limit(limit).subquery()
        )
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())

    def key_range(self, connection: Connection, shape: Shape) -> tuple[int, int] | None:
        """Return the lowest and highest key where the key is one integer column and there are rows."""
        if not shape.integer_key:
            return None
        source: Any = self.source(shape)
        key = source.c[shape.key[0]]
        low, high = connection.execute(select(func.min(key), func.max(key))).one()
        return None if low is None else (int(low), int(high))


@contextmanager
def opened(
    connection: Connection, count: int, snapshot: Callable[[Connection], AbstractContextManager[None]]
) -> Iterator[Sequence[Connection]]:
    """Connections like this one, each inside the snapshot it is given; as many as the server lets in."""
    with ExitStack() as stack:
        found: list[Connection] = []
        with suppress(sa.exc.DBAPIError):
            while len(found) < count:
                other = stack.enter_context(connection.engine.connect())
                stack.enter_context(snapshot(other))
                found.append(other)
        yield found


def evenly(low: int, high: int, count: int) -> list[tuple[int, int]]:
    """The numbers from `low` to `high`, both included, in so many ranges, as far as there are numbers."""
    count = min(count, high - low + 1)
    edges = [low + (high - low + 1) * at // count for at in range(count + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]
