"""The journal's lines as statements: what `migrator.journal` writes online, a script writes with these.

No number of a run stands in a script, which may be fed to several databases or twice to one: the run
meant is the one of this reference and operation that is under way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from migrator.journal import FORWARD, LEASE, METADATA, MIRROR, RUN, STEP, reference_key
from migrator.mirror import Mirror, manifest
from migrator.offline.words import Words
from migrator.reference import Reference

_UNFINISHED = ("running", "interrupted", "failed")


@dataclass(frozen=True)
class Records:
    """The journal of one operation on one reference.

    Args:
        words: the database's.
        reference: what the operation is about.
        operation: as the journal calls it; `adopt` too.
    """

    words: Words
    reference: Reference
    operation: str

    # -- conditions and expressions --------------------------------------------------------------
    def of(self, operation: str, *states: str) -> list[ColumnElement[bool]]:
        """The runs of an operation on this reference that are in one of these states."""
        value = self.words.value
        return [
            RUN.c.reference_key == value(reference_key(self.reference)),
            RUN.c.operation == value(operation),
            RUN.c.state.in_([value(state) for state in states]),
        ]

    @property
    def under_way(self) -> list[ColumnElement[bool]]:
        """The run this script works on."""
        return self.of(self.operation, "running")

    @property
    def run_id(self) -> sa.ScalarSelect[Any]:
        """Its number."""
        return sa.select(RUN.c.id).where(*self.under_way).scalar_subquery()

    @property
    def untouched(self) -> str:
        """An expression: whether the run under way has changed nothing yet, in this script or in one that was
        stopped before."""
        changed = self.words.json_text("counts", "changed")
        some = sa.literal_column(f"COALESCE({changed}, '0')") != self.words.value("0")
        return f"{self.count(*self.under_way, some)} = 0"

    def in_force(self, operation: str) -> list[ColumnElement[bool]]:
        """The runs of an operation that were not taken back."""
        value = self.words.value
        return [
            RUN.c.reference_key == value(reference_key(self.reference)),
            RUN.c.operation == value(operation),
            RUN.c.state != value("undone"),
        ]

    def ours(self, names: Iterable[str]) -> str:
        """An expression: how many of these steps the journal has as ours to take back."""
        value = self.words.value
        query = (
            sa.select(sa.func.count(sa.distinct(STEP.c.name)))
            .join(RUN, RUN.c.id == STEP.c.run_id)
            .where(
                RUN.c.reference_key == value(reference_key(self.reference)),
                RUN.c.state != value("undone"),
                RUN.c.operation.in_([value(word) for word in FORWARD]),
                STEP.c.ours == value(1),
                STEP.c.name.in_([value(name) for name in names] or [sa.null()]),
            )
        )
        return f"({self.words.sql(query)})"

    def count(self, *conditions: ColumnElement[bool]) -> str:
        """An expression: how many runs meet the conditions."""
        return f"({self.words.sql(sa.select(sa.func.count()).select_from(RUN).where(*conditions))})"

    @property
    def left(self) -> str:
        """An expression: how many runs are in force and mirrors there, of whatever reference."""
        value = self.words.value
        active = (
            sa.select(sa.func.count())
            .select_from(RUN)
            .where(
                RUN.c.operation.in_([value(word) for word in FORWARD]),
                RUN.c.state.not_in([value("undone"), value("refused")]),
            )
        )
        mirrors = sa.select(sa.func.count()).select_from(MIRROR)
        return f"(({self.words.sql(active)}) + ({self.words.sql(mirrors)}))"

    # -- statements --------------------------------------------------------------------------------
    def ensure(self) -> list[str]:
        """Create the journal where it is missing."""
        return [
            self.words.sql(sa.schema.CreateTable(table, if_not_exists=True))
            for table in METADATA.sorted_tables
        ]

    def dropped(self) -> list[str]:
        """Drop it, and the lease beside it."""
        preparer = self.words.dialect.sa.identifier_preparer
        tables = dict.fromkeys([*METADATA.sorted_tables, LEASE])
        return [f"DROP TABLE IF EXISTS {preparer.format_table(table)}" for table in tables]

    def start(self, policy: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> list[str]:
        """Take up the unfinished run of this operation and reference, or open one.

        Args:
            policy: as the journal keeps it.
            facts: what else it is to keep of a new run.
        """
        value = self.words.value
        now: ColumnElement[Any] = sa.literal_column(self.words.now)
        policy_text = value(json.dumps(policy, default=str))
        again = (
            sa.update(RUN)
            .where(*self.of(self.operation, *_UNFINISHED))
            .values(
                state=value("running"),
                heartbeat_at=now,
                finished_at=sa.null(),
                policy=policy_text,
                actor=sa.literal_column(self.words.actor),
            )
        )
        values: dict[str, ColumnElement[Any]] = {
            "id": sa.literal_column(self.words.run_id),
            "reference_key": value(reference_key(self.reference)),
            "reference": value(str(self.reference)),
            "operation": value(self.operation),
            "state": value("running"),
            "definition": value(json.dumps(self.reference.to_json())),
            "policy": policy_text,
            "facts": value(json.dumps(facts or {})),
            "counts": value("{}"),
            "actor": sa.literal_column(self.words.actor),
            "started_at": now,
            "heartbeat_at": now,
        }
        run = RUN.alias("r")
        none = (
            sa.select(sa.func.count())
            .select_from(run)
            .where(
                run.c.reference_key == values["reference_key"],
                run.c.operation == values["operation"],
                run.c.state == values["state"],
            )
        )
        new = sa.insert(RUN).from_select(
            list(values), self.words.select(values).where(none.scalar_subquery() == value(0))
        )
        return [self.words.sql(again), self.words.sql(new)]

    def step_started(self, name: str, *, ours: bool) -> list[str]:
        """See `journal.step_started`."""
        value = self.words.value
        here = [STEP.c.run_id == self.run_id, STEP.c.name == value(name)]
        again = (
            sa.update(STEP).where(*here).values(state=value("running"), attempts=STEP.c.attempts + value(1))
        )
        step = STEP.alias("s")
        there = (
            sa.select(sa.func.count())
            .select_from(step)
            .where(step.c.run_id == RUN.c.id, step.c.name == value(name))
            .correlate(RUN)
        )
        values: dict[str, ColumnElement[Any]] = {
            "run_id": RUN.c.id,
            "name": value(name),
            "state": value("running"),
            "ours": value(int(ours)),
            "attempts": value(1),
            "started_at": sa.literal_column(self.words.now),
            "detail": value("{}"),
        }
        new = sa.insert(STEP).from_select(
            list(values),
            sa.select(*(each.label(column) for column, each in values.items())).where(
                *self.under_way, there.scalar_subquery() == value(0)
            ),
        )
        return [self.words.sql(again), self.words.sql(new)]

    def step_done(self, name: str, detail: str | None = None) -> str:
        """See `journal.step_done`; `detail` is an expression."""
        values: dict[str, Any] = {
            "state": self.words.value("done"),
            "finished_at": sa.literal_column(self.words.now),
        }
        if detail is not None:
            values["detail"] = sa.literal_column(detail)
        return self.words.sql(self._step(name).values(**values))

    def step_detail(self, name: str, detail: str) -> str:
        """See `journal.set_step_detail`; `detail` is an expression."""
        return self.words.sql(self._step(name).values(detail=sa.literal_column(detail)))

    def record(self, **values: str) -> str:
        """See `journal.record`; the values are expressions."""
        return self.words.sql(
            sa.update(RUN)
            .where(*self.under_way)
            .values(
                heartbeat_at=sa.literal_column(self.words.now),
                **{name: sa.literal_column(value) for name, value in values.items()},
            )
        )

    def finish(self, state: str = "done", message: str | None = None) -> str:
        """See `journal.finish`; `message` is an expression."""
        now: ColumnElement[Any] = sa.literal_column(self.words.now)
        values: dict[str, Any] = {"state": self.words.value(state), "finished_at": now, "heartbeat_at": now}
        if message is not None:
            values["message"] = sa.literal_column(message)
        return self.words.sql(sa.update(RUN).where(*self.under_way).values(**values))

    def undone(self, operation: str) -> str:
        """See `journal.undone`."""
        value = self.words.value
        return self.words.sql(
            sa.update(RUN)
            .where(
                RUN.c.reference_key == value(reference_key(self.reference)),
                RUN.c.operation == value(operation),
            )
            .values(state=value("undone"))
        )

    def mirrored(self, mirror: Mirror) -> list[str]:
        """The mirror's line in the manifest, written or brought up to date."""
        value = self.words.value
        line: dict[str, ColumnElement[Any]] = {
            name: value(text) for name, text in manifest(self.reference, mirror).items()
        }
        line["created_at"] = sa.literal_column(self.words.now)
        update = (
            sa.update(MIRROR)
            .where(MIRROR.c.name == value(mirror.name.name))
            .values(definition=line["definition"])
        )
        there = MIRROR.alias("m")
        none = sa.select(sa.func.count()).select_from(there).where(there.c.name == value(mirror.name.name))
        insert = sa.insert(MIRROR).from_select(
            list(line), self.words.select(line).where(none.scalar_subquery() == value(0))
        )
        return [self.words.sql(update), self.words.sql(insert)]

    def forgotten(self, mirror: Mirror) -> str:
        """The mirror's line taken out of the manifest."""
        return self.words.sql(sa.delete(MIRROR).where(MIRROR.c.name == self.words.value(mirror.name.name)))

    def _step(self, name: str) -> sa.Update:
        return sa.update(STEP).where(STEP.c.run_id == self.run_id, STEP.c.name == self.words.value(name))
