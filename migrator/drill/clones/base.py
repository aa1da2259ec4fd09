"""What a kind of server has to supply for a drill on a copy."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.engine import URL, Connection

from migrator.connect import make_engine
from migrator.drill.model import Sampled
from migrator.drill.room import Room, size
from migrator.drill.sample import Sampling, thin_out

PREFIX: Final = "migrator_drill_"
"""What the name of every scratch database begins with, and of nothing else."""


@dataclass(frozen=True)
class Leftover:
    """A scratch database of an earlier drill.

    Args:
        name: its name, or its file's path.
        created: when, UTC, as its name says.
        in_use: whether a drill is at work in it now.
    """

    name: str
    created: str
    in_use: bool


class Cloner(ABC):
    """Makes, finds and drops copies of one database.

    Args:
        source: the database.
    """

    def __init__(self, source: URL) -> None:
        self.source = source

    #: Whether a sample is thinned out from a copy of everything.
    samples_a_copy: bool = True
    #: Objects of the source that a copy is not given, by their kind in a fingerprint.
    left_out: Collection[str] = ()

    @abstractmethod
    def clone(self, name: str) -> tuple[URL, str]:
        """Make a copy under that name. What was made of it when this fails is the caller's to drop.

        Returns:
            Its URL, and in a few words how it was made.

        Raises:
            Refused: it cannot be made, with the way out.
        """

    def room(self) -> Room:
        """What a copy needs and what there is. Reads only."""
        engine = make_engine(self.source, read_only=True)
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                free, where = self.free(connection)
                return Room(size(connection), free, where)
        finally:
            engine.dispose()

    @abstractmethod
    def free(self, connection: Connection) -> tuple[int | None, str]:
        """The bytes that are free where a copy would be, None where that cannot be known; and where that is.

        Args:
            connection: to the source.
        """

    def sample(self, name: str, wish: Sampling) -> tuple[URL, str, Sampled]:
        """Make a copy of a part that holds together. By default: of everything, then thinned out."""
        url, method = self.clone(name)
        engine = make_engine(url)
        try:
            with (
                engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
                self.undisturbed(connection),
            ):
                sampled = thin_out(connection, wish)
                self.pack(connection)
        finally:
            engine.dispose()
        return url, f"{method}, thinned out to a sample", sampled

    @contextmanager
    def undisturbed(self, connection: Connection) -> Iterator[None]:
        """Rows can be deleted inside without a trigger or a foreign key that does something about it.

        Raises:
            Refused: that may not be asked for.
        """
        yield

    def pack(self, connection: Connection) -> None:  # noqa: B027
        """Give back the room of deleted rows, which would be read through again and again."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Drop a copy, whoever is still connected; none there is fine."""

    @abstractmethod
    def leftovers(self) -> Iterator[Leftover]:
        """The scratch databases that are there."""

    def claim(self, name: str) -> AbstractContextManager[None]:
        """Show others that the copy is in use, from before it is made. Ends with the process."""
        return nullcontext()

    def occupy(self, name: str) -> AbstractContextManager[None]:
        """The same, from when it is made; where a server can show it only then."""
        return nullcontext()


def new_name() -> str:
    """A name for a scratch database: unmistakable, sorted by time, never used twice."""
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    return f"{PREFIX}{stamp}_{os.getpid()}_{secrets.token_hex(3)}"


def created(name: str) -> str:
    """When a scratch database was made, from its name; as ISO 8601, or "" where the name does not say."""
    digits = name.removeprefix(PREFIX)[:14]
    if len(digits) != 14 or not digits.isdigit():
        return ""
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def maker_lives(name: str) -> bool:
    """Whether the process that made a scratch database still runs, if it is one of this machine's. A number
    that was given to another process since only means that a leftover is not taken for one yet."""
    process = name.removeprefix(PREFIX).split("_")[1:2]
    if not process or not process[0].isdigit():
        return False
    try:
        os.kill(int(process[0]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
