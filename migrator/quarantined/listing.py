"""What lies in quarantine, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects import Dialect
from migrator.mirror import ACTION, AT, KIND, RUN_ID, STATE
from migrator.quarantined.holdings import Holding, Selection


@dataclass(frozen=True)
class Entry:
    """The rows of one mirror that were taken by one run for one reason and have come to one end.

    Args:
        bytes: the size of the whole mirror; None where the server does not tell.
        since, until: when the first and the last of them were set aside.
    """

    reference: str
    table: str
    mirror: str
    run: str
    kind: str
    action: str
    state: str
    rows: int
    since: str
    until: str
    bytes: int | None
    in_force: bool

    def to_json(self) -> dict[str, Any]:
        """As `migrator.quarantine/1` has it."""
        return dict(vars(self))


def entries(
    connection: Connection, dialect: Dialect, found: Sequence[Holding], selection: Selection
) -> list[Entry]:
    """All of them, oldest first within each mirror.

    Args:
        connection: only reads.
        found: which mirrors.
        selection: which rows of them.
    """
    listed: list[Entry] = []
    for holding in found:
        clause = holding.mirror.clause
        by = [clause.c[name] for name in (RUN_ID, KIND, ACTION, STATE)]
        first, last = sa.func.min(clause.c[AT]), sa.func.max(clause.c[AT])
        query = (
            sa.select(*by, sa.func.count(), first, last)
            .where(*selection.where(holding.mirror, clause))
            .group_by(*by)
            .order_by(first, *by)
        )
        size = dialect.bytes_taken(connection, holding.mirror.name)
        listed.extend(
            Entry(
                str(holding.reference),
                str(holding.mirror.source),
                holding.mirror.name.name,
                run=str(row[0]),
                kind=str(row[1]).strip(),
                action=str(row[2]),
                state=str(row[3]),
                rows=int(row[4]),
                since=str(row[5]),
                until=str(row[6]),
                bytes=size,
                in_force=holding.in_force,
            )
            for row in connection.execute(query)
        )
    return listed
