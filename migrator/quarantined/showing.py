"""`migrator quarantine show`: rows with their reason, and what is in the way of those in conflict."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from rich.console import Console

from migrator.exact import exact_for
from migrator.mirror import CONFLICT
from migrator.quarantined.conflicts import Conflict, conflicts
from migrator.quarantined.export import row_to_json
from migrator.quarantined.holdings import Selection, holdings, nothing_selected
from migrator.quarantined.json import rows_to_json
from migrator.quarantined.rows import HeldRow, held_rows, mirror_columns
from migrator.quarantined.text import print_conflicts, print_rows
from migrator.report.build import database_info
from migrator.report.json import dumps
from migrator.report.model import DatabaseInfo

if TYPE_CHECKING:
    from migrator.cli.options import Session


@dataclass
class Shown:
    """What is shown, in either form."""

    database: DatabaseInfo
    whole: bool
    rows: list[HeldRow] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    total: int = 0

    def json(self) -> str:
        """As `migrator.quarantine/1`."""
        return dumps(rows_to_json(self.database, self.data, self.total))

    def text(self, console: Console) -> None:
        """For a terminal."""
        print_rows(self.rows, self.total - len(self.rows), console, whole=self.whole)
        print_conflicts(self.conflicts, 0, console, whole=self.whole)


def shown_rows(session: Session, selection: Selection, *, limit: int, whole: bool) -> Shown:
    """Look at no more rows than are shown.

    Raises:
        UsageError: the selection means no row.
    """
    connection, dialect = session.connection, session.dialect
    exact = exact_for(dialect)
    exact.prepare(connection)
    found = holdings(connection, selection.references)
    told = Shown(database_info(connection, dialect, session.url), whole)
    for holding in found:
        clause = holding.mirror.clause
        every = sa.select(sa.func.count()).select_from(clause).where(*selection.where(holding.mirror, clause))
        told.total += int(connection.scalar(every) or 0)
        left = limit - len(told.rows)
        if left <= 0:
            continue
        columns = mirror_columns(connection, dialect, holding)
        with closing(held_rows(connection, dialect, holding, selection, limit=left)) as rows:
            here = list(rows)
        why = {}
        if any(row.state == CONFLICT for row in here):
            why = {one.row.id: one for one in conflicts(connection, dialect, holding, selection, limit=left)}
        for row in here:
            data = dict(why[row.id].data) if row.id in why else row_to_json(row, columns, exact)
            if not whole:  # keys and reference columns only, unless asked for more
                data = {name: value for name, value in data.items() if name not in ("row", "live")}
                data["value"] = {
                    name: exact.plain(value, columns[name]) for name, value in row.reference_values.items()
                }
            told.data.append(data)
        told.rows += here
        told.conflicts += why.values()
    if not told.total:
        raise nothing_selected(found)
    return told
