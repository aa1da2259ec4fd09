"""Several connections at one database's tables: a piece of the work each, until there is none left.

The connection that was given opens the others, keeps what holds them together (PostgreSQL: the exported
snapshot) and is otherwise left alone, so that it can call off what they do when the caller has enough.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy import Connection

from migrator.fingerprint.backend import Backend
from migrator.fingerprint.data import Found, Piece, cut, put_together, read
from migrator.fingerprint.model import Shape, TableDigest

#: Seconds until a session is called off again: it may have been between two statements.
_CALL_AGAIN = 0.2


def digest_tables(
    backend: Backend,
    connection: Connection,
    others: Sequence[Connection],
    shapes: Sequence[Shape],
    *,
    parts: int,
    row_limit: int,
) -> dict[str, TableDigest]:
    """Digest tables; see `data_digest`.

    Args:
        connection: inside its snapshot.
        others: inside theirs, which see the same; without any the work is done on `connection`.

    Raises:
        Exception: the first that came on any of them; the others' statements are called off.
    """
    ways = max(1, len(others))
    tables = [cut(backend, connection, shape, row_limit=row_limit, ways=ways) for shape in shapes]
    pieces = [piece for table in tables for piece in table.pieces]
    # What takes longest is begun first.
    order = sorted(pieces, key=lambda piece: piece.keeps_rows)
    found = (
        _at_once(backend, connection, others, order, parts)
        if others
        else {piece: read(backend, connection, piece, parts) for piece in order}
    )
    return {
        table.shape.label: put_together(table, parts, [found[piece] for piece in table.pieces])
        for table in tables
    }


def _at_once(
    backend: Backend,
    connection: Connection,
    others: Sequence[Connection],
    pieces: Sequence[Piece],
    parts: int,
) -> dict[Piece, Found]:
    todo: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Piece, Found] | BaseException] = queue.SimpleQueue()
    for piece in pieces:
        todo.put(piece)

    def work(mine: Connection) -> None:
        try:
            while True:
                piece = todo.get_nowait()
                done.put((piece, read(backend, mine, piece, parts)))
        except queue.Empty:
            return
        except BaseException as error:  # raised again where someone can handle it
            done.put(error)

    sessions = [backend.session(each) for each in others]
    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in others]
    for thread in threads:
        thread.start()
    found: dict[Piece, Found] = {}
    try:
        while len(found) < len(pieces):
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            found[answer[0]] = answer[1]
    finally:
        # Their connections are the caller's to close, and must be nobody's then.
        while not todo.empty():
            with suppress(queue.Empty):
                todo.get_nowait()
        while any(thread.is_alive() for thread in threads):
            _call_off(backend, connection, sessions if len(found) < len(pieces) else ())
            for thread in threads:
                thread.join(_CALL_AGAIN)
    return found


def _call_off(backend: Backend, connection: Connection, sessions: Sequence[int]) -> None:
    for session in sessions:
        with suppress(sa.exc.DBAPIError):  # it may have ended by itself
            backend.call_off(connection, session)
