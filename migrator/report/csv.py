"""Orphans as CSV for a person to go through: key, current value, and a blank for the new one."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, TextIO

from migrator.detect import OrphanRow
from migrator.reference import Reference
from migrator.report.values import plain

#: A reference, its child's key columns, and its orphans.
Listed = tuple[Reference, Sequence[str], Generator[OrphanRow]]


def write_csv(out: TextIO, listed: Iterable[Listed]) -> int:
    """Write the orphans of one or more references, row by row as they come.

    The columns are `reference`, `kind`, `key:<column>` for the child's key, `value:<column>` for what
    is there (blank for NULL) and `new:<column>`, left blank; of several references all columns that
    any of them has.

    Args:
        out: opened with `newline=""`.
        listed: each reference with its rows; the rows of one are read before those of the next.

    Returns:
        The number of orphans written.
    """
    every = list(listed)
    keys = dict.fromkeys(column for _, key, _ in every for column in key)
    columns = dict.fromkeys(column for reference, _, _ in every for column in reference.columns)
    header = [
        "reference",
        "kind",
        *(f"key:{name}" for name in keys),
        *(f"value:{name}" for name in columns),
        *(f"new:{name}" for name in columns),
    ]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    written = 0
    for reference, _, rows in every:
        name = str(reference)
        # Closed here whatever happens, while the connection is still open: the reader of a pipe may go.
        with closing(rows):
            for row in rows:
                writer.writerow(
                    [
                        name,
                        row.kind,
                        *(_cell(row.key.get(key)) for key in keys),
                        *(_cell(row.value.get(column)) for column in columns),
                        *("" for _ in columns),
                    ]
                )
                written += 1
    return written


def _cell(value: Any) -> Any:
    return "" if value is None else plain(value)
