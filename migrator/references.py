"""Which references a command works on: those named, those of the models, or those found."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.dialects.generic import unknown_types
from migrator.errors import UsageError
from migrator.naming import is_own_table
from migrator.nearest import check_schema
from migrator.reference import ACTIONS, Action, Reference, TableName

#: How a reference was come by: `name` means that a column merely looks like one.
Origin = Literal["argument", "models", "declared", "journal", "name"]


@dataclass(frozen=True)
class Found:
    """A reference and how it was come by."""

    reference: Reference
    origin: Origin


def named(texts: Sequence[str], *, nullable: bool = False, on_delete: str | None = None) -> list[Found]:
    """References given in words.

    Args:
        texts: as `Reference.parse` reads them.
        nullable: whether NULL is right in them.
        on_delete: the action they should have; None when it does not matter.

    Raises:
        ReferenceSyntaxError: one cannot be read.
    """
    action = _action(on_delete)
    found = [Reference.parse(text, nullable=nullable, on_delete=action) for text in texts]
    return [Found(reference, "argument") for reference in dict.fromkeys(found)]


def load_metadata(spec: str) -> sa.MetaData:
    """The metadata behind `package.module:Base`: a declarative base, a `MetaData`, a Flask-SQLAlchemy
    `db`, or anything else with a `metadata`. The working directory is looked in first.

    Raises:
        UsageError: no such module or name, or it has no metadata.
    """
    target = load_object(spec)
    metadata = target if isinstance(target, sa.MetaData) else getattr(target, "metadata", None)
    if not isinstance(metadata, sa.MetaData):
        raise UsageError(
            f"{spec} is neither a declarative base nor a MetaData.", hint="Write it as package.module:Base."
        )
    return metadata


def load_object(spec: str) -> Any:
    """What `package.module:Name` names; see `load_metadata`."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise UsageError(f"{spec!r} names no models.", hint="Write it as package.module:Base.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"The models {spec!r} cannot be imported: {error}.",
            hint="Run the command where `python -c 'import ...'` of the module works.",
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"Module {module_name} has no {name!r}.", hint="Write it as package.module:Base."
            )
        found = getattr(found, part)
    return found


def from_metadata(metadata: sa.MetaData) -> list[Found]:
    """The foreign keys the models declare. NULL is right where every column of one may be NULL."""
    return [
        Found(_declared(table, key), "models")
        for table in metadata.sorted_tables
        for key in sorted(table.foreign_key_constraints, key=lambda key: tuple(key.column_keys))
    ]


def declared(connection: Connection, schema: str | None = None) -> list[Found]:
    """The foreign keys of the database, those of our own tables left out.

    Raises:
        UsageError: there is no such schema.
    """
    check_schema(connection, schema)
    inspector = sa.inspect(connection)
    try:
        keys = inspector.get_multi_foreign_keys(schema=schema)
        with unknown_types():
            columns = inspector.get_multi_columns(schema=schema)
    except NotImplementedError:
        return []
    may_be_null = {
        (table, column["name"]): bool(column.get("nullable", True))
        for table, described in columns.items()
        for column in described
    }
    return [
        Found(_reflected(table, key, may_be_null), "declared")
        for table, of_table in sorted(keys.items(), key=lambda item: (item[0][0] or "", item[0][1]))
        if not is_own_table(table[1])
        for key in sorted(of_table, key=lambda key: key["constrained_columns"])
    ]


def without_repeats(found: Sequence[Found]) -> list[Found]:
    """One of each: the same columns to the same key; the first wins."""
    seen: dict[tuple[Any, ...], Found] = {}
    for one in found:
        reference = one.reference
        pairs = frozenset(zip(reference.columns, reference.parent_columns, strict=True))
        seen.setdefault((reference.child, pairs, reference.parent), one)
    return list(seen.values())


def _declared(table: sa.Table, key: sa.ForeignKeyConstraint) -> Reference:
    parent = key.referred_table
    return Reference(
        TableName(table.name, table.schema),
        tuple(column.name for column in key.columns),
        TableName(parent.name, parent.schema),
        tuple(element.column.name for element in key.elements),
        name=str(key.name) if isinstance(key.name, str) else "",
        on_delete=_action(key.ondelete),
        on_update=_action(key.onupdate),
        match="full" if str(key.match or "").lower() == "full" else "simple",
        nullable=all(bool(column.nullable) for column in key.columns),
        deferrable=bool(key.deferrable),
        initially_deferred=str(key.initially or "").upper() == "DEFERRED",
    )


def _reflected(table: tuple[str | None, str], key: Any, may_be_null: dict[Any, bool]) -> Reference:
    options = key.get("options") or {}
    return Reference(
        TableName(table[1], table[0]),
        tuple(key["constrained_columns"]),
        TableName(key["referred_table"], key["referred_schema"]),
        tuple(key["referred_columns"]),
        name=key["name"] or "",
        on_delete=_action(options.get("ondelete")),
        on_update=_action(options.get("onupdate")),
        match="full" if str(options.get("match") or "").lower() == "full" else "simple",
        nullable=all(may_be_null.get((table, column), True) for column in key["constrained_columns"]),
        deferrable=bool(options.get("deferrable")),
        initially_deferred=str(options.get("initially") or "").upper() == "DEFERRED",
    )


def _action(text: str | None) -> Action | None:
    if text is None:
        return None
    action = " ".join(text.upper().replace("-", " ").replace("_", " ").split())
    if action not in ACTIONS:
        raise UsageError(f"{text!r} is no referential action.", hint="One of " + ", ".join(ACTIONS) + ".")
    return action


def each(found: Sequence[Found]) -> Iterator[Reference]:
    """The references alone."""
    return (one.reference for one in found)
