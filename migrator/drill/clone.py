"""A copy of the database to drill on, dropped at the end whatever happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import URL

from migrator.connect import make_engine
from migrator.drill.clones import Cloner, Leftover, cloner_for
from migrator.drill.clones.base import new_name
from migrator.drill.model import Sampled, describe
from migrator.drill.sample import Sampling
from migrator.errors import MigratorError, StepFailed
from migrator.fingerprint import Fingerprint, compare, schema_text, take

#: Connections that read for a fingerprint.
_AT_ONCE = 4


@dataclass(frozen=True)
class Clone:
    """A copy.

    Args:
        url: where it is.
        name: of the database, or of the file without its suffix.
        method: how it was made, in a few words.
        seconds: how long that took, the comparison with the source included.
        print: its fingerprint, which is the source's.
        live: whether the source was written to meanwhile, so that the rows could not be compared.
        sample: what part of the source it is; None for all of it.
        note: about the room for it, where that could not be known.
    """

    url: URL
    name: str
    method: str
    seconds: float
    print: Fingerprint
    live: bool
    sample: Sampled | None = None
    note: str | None = None


@contextmanager
def cloned(source: URL, *, keep: bool = False, sampling: Sampling | None = None) -> Iterator[Clone]:
    """Copy a database, prove that the copy is one, and drop it at the end: after a failure and after
    Ctrl-C as well. What a killed process leaves is found by its name: see `leftovers`.

    Args:
        source: what to copy; it is only read.
        keep: leave it there.
        sampling: copy a part of it only.

    Raises:
        Refused: it cannot be copied, or there is no room for a copy.
        StepFailed: the copy is not the same as the source.
    """
    cloner = cloner_for(source)
    note = None
    if sampling is None or cloner.samples_a_copy:
        note = cloner.room().check(str(source.database))
    name = new_name()
    began = time.monotonic()
    with cloner.claim(name):
        try:
            sample = None
            if sampling is None:
                url, method = cloner.clone(name)
            else:
                url, method, sample = cloner.sample(name, sampling)
            with cloner.occupy(name):
                found, live = _proved(cloner, source, url) if sample is None else _alike(cloner, source, url)
                yield Clone(url, name, method, time.monotonic() - began, found, live, sample, note)
        finally:
            if not keep:
                # The error that brought us here, if there was one, matters more than one in tidying up.
                with suppress(sa.exc.DBAPIError, MigratorError, OSError):
                    cloner.drop(name)


def leftovers(source: URL) -> list[Leftover]:
    """The scratch databases of drills on that server (for SQLite: in the directory for temporary files).

    Raises:
        ConnectionFailed: it cannot be reached.
    """
    return list(cloner_for(source).leftovers())


def drop_leftovers(source: URL) -> list[Leftover]:
    """Drop those that no drill is at work in; returns them."""
    cloner = cloner_for(source)
    gone = [one for one in cloner.leftovers() if not one.in_use]
    for one in gone:
        cloner.drop(one.name)
    return gone


def fingerprint(url: URL, *, still: bool) -> Fingerprint:
    """The fingerprint of a database, taken on connections of its own.

    Args:
        still: nobody writes to it: a copy. MySQL and MariaDB then read on several connections at once.
    """
    engine = make_engine(url)
    try:
        return take(engine, connections=_AT_ONCE, still=still)
    finally:
        engine.dispose()


def _proved(cloner: Cloner, source: URL, url: URL) -> tuple[Fingerprint, bool]:
    """The copy's fingerprint, once it is seen to be the source's."""
    copy = fingerprint(url, still=True)
    original = _without(fingerprint(source, still=False), cloner)
    differences = compare(original, _without(copy, cloner))
    if not differences:
        return copy, False
    # Was the copy bad, or did the application write to the source while it was being copied?
    again = _without(fingerprint(source, still=False), cloner)
    schema = [one for one in compare(again, _without(copy, cloner)) if one.kind == "schema"]
    if original.identical(again) or schema:
        first = schema[0] if schema else differences[0]
        raise StepFailed(
            f"The copy is not the same as the source: {describe(first)} The source was not changed.",
            hint="Drill --in-place in a staging copy made with your own tools.",
        )
    return copy, True


def _alike(cloner: Cloner, source: URL, url: URL) -> tuple[Fingerprint, bool]:
    """The sample's fingerprint, once its schema is seen to be the source's."""
    copy = fingerprint(url, still=True)
    engine = make_engine(source)
    try:
        # Without the rows: there may be too many of them, which is why a sample was asked for.
        with engine.connect() as connection:
            texts = schema_text(connection)
    finally:
        engine.dispose()
    original = _without(Fingerprint(copy.dialect, texts, {}, {}), cloner)
    schema = compare(original, _without(copy, cloner))
    if schema:
        raise StepFailed(
            f"The sample has not the source's schema: {describe(schema[0])} The source was not changed."
        )
    return copy, False


def _without(found: Fingerprint, cloner: Cloner) -> Fingerprint:
    """Without the kinds of objects that a copy is not given."""
    if not cloner.left_out:
        return found
    kept = {key: text for key, text in found.schema.items() if key.split(" ")[0] not in cloner.left_out}
    return Fingerprint(found.dialect, kept, found.tables, found.counters)
