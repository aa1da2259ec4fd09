"""Facts of one reference: the two tables, told in the words the reference uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migrator.catalog import Facts, ForeignKey, Server, Table
from migrator.dialects.generic import facts_from
from migrator.dialects.mysql_catalog import Catalog
from migrator.dialects.mysql_words import as_asked, guard_names
from migrator.reference import Reference, TableName


def facts_of(catalog: Catalog, server: Server, reference: Reference) -> Facts:
    """Everything plans and done-checks of this reference need.

    Raises:
        UnknownTableError, UnknownColumnError: with the nearest names.
    """
    child = catalog.table(reference.child)
    parent = child if reference.is_self_reference else catalog.table(reference.parent)
    facts = facts_from(server, reference, child, parent)
    spelled = {column.name.lower(): column.name for column in parent.columns}
    told = [_told(catalog, key, parent, reference, spelled) for key in child.foreign_keys]
    names = guard_names(reference)
    return replace(
        facts,
        child=replace(child, foreign_keys=tuple(told)),
        guards=tuple(name for name in child.extra["guards"] if name in names),
        extra={"current": catalog.database},
    )


def _told(
    catalog: Catalog, key: ForeignKey, parent: Table, reference: Reference, spelled: Mapping[str, str]
) -> ForeignKey:
    """The key with its parent named as the reference names it, if it is the reference's parent, so
    that `Facts.foreign_key` recognises it: `lower_case_table_names` and an explicit database may
    have spelled it otherwise, and a key keeps the letters in which its columns were once written."""
    if not _is(catalog, key.parent, parent):
        return key
    named = replace(
        key,
        parent=reference.parent,
        parent_columns=tuple(spelled.get(column.lower(), column) for column in key.parent_columns),
    )
    if not named.answers(reference):
        return named
    on_delete, on_update = as_asked(named, reference)
    return replace(named, on_delete=on_delete, on_update=on_update)


def _is(catalog: Catalog, name: TableName, table: Table) -> bool:
    database = name.schema or catalog.database or ""
    return (catalog.fold(database), catalog.fold(name.name)) == (
        catalog.fold(str(table.extra["database"])),
        catalog.fold(str(table.extra["stored_name"])),
    )
