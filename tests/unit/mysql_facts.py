"""Facts of the blog on MySQL or MariaDB, made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from migrator.catalog import Column, Facts, ForeignKey, Index, Server, Table
from migrator.dialects.mysql_words import guard_names
from migrator.reference import Reference, TableName

REFERENCE = Reference.parse("post.user_id -> user.id")
KEY = ForeignKey("fk_post_user_id_user", TableName("post"), ("user_id",), TableName("user"), ("id",))
INDEX = Index("ix_post_user_id", ("user_id",))
GUARDS = guard_names(REFERENCE)

_PRIMARY = Index("PRIMARY", ("id",), unique=True)


def column(name: str, type_: str = "int", **more: Any) -> Column:
    """A column whose definition is its type."""
    return Column(name, type_, **{"definition": type_, **more})


def table(name: str, *columns: Column, **more: Any) -> Table:
    """An InnoDB table with the primary key `id`."""
    extra = {"database": "blog", "stored_name": name, "type": "BASE TABLE", "guards": (), "no_default": ()}
    values: dict[str, Any] = {"primary_key": ("id",), "indexes": (_PRIMARY,), "engine": "InnoDB"}
    return Table(
        TableName(name), "table", columns, **{**values, **more, "extra": extra | more.get("extra", {})}
    )


def facts(
    family: Literal["mysql", "mariadb"] = "mysql",
    version: tuple[int, ...] = (9, 7, 4),
    reference: Reference = REFERENCE,
    *,
    child: Table | None = None,
    parent: Table | None = None,
    guards: tuple[str, ...] = (),
) -> Facts:
    """The blog as it was found: no index, no key, NULL allowed."""
    return Facts(
        server=Server(family, version, ".".join(map(str, version))),
        reference=reference,
        child=child or table("post", column("id", nullable=False), column("user_id"), column("body", "text")),
        parent=parent or table("user", column("id", nullable=False), column("name", "varchar(20)")),
        guards=guards,
        extra={"current": "blog"},
    )


def enforced(base: Facts) -> Facts:
    """With index, guard and key."""
    child = replace(base.child, indexes=(*base.child.indexes, INDEX), foreign_keys=(KEY,))
    return replace(base, child=child, guards=GUARDS)


def validated(base: Facts) -> Facts:
    """With NOT NULL in place of the guard."""
    there = enforced(base)
    columns = tuple(replace(c, nullable=False) if c.name == "user_id" else c for c in there.child.columns)
    return replace(there, child=replace(there.child, columns=columns), guards=())
