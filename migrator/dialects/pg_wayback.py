"""What lets old rows stand and refuses them when they come back. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from migrator.catalog import Facts
from migrator.dialects.pg_facts import extras
from migrator.dialects.pg_words import quote, table_sql
from migrator.dialects.telling import Standing

_NOT_VALID = " NOT VALID"
_CHECK = re.compile(r"CHECK \(\((?P<column>.+) IS NOT NULL\)\)( NO INHERIT)?( NOT VALID)?")


def in_the_way(facts: Facts, kinds: Collection[str], nulls: Collection[str]) -> Iterator[Standing]:
    """The constraints that quarantined rows break. Arguments as for `Dialect.in_the_way`."""
    child, reference = facts.child, facts.reference
    refused = {"dangling", "partial"} if reference.match == "full" else {"dangling"}
    keys = {key.name for key in facts.foreign_keys} if refused & set(kinds) else set()
    not_nulls = {each.name for each in extras(child).not_nulls if each.column in nulls}
    for name, definition in extras(child).constraints:
        what = "the foreign key" if name in keys else "NOT NULL" if name in not_nulls else ""
        check = _CHECK.fullmatch(definition)
        if check is not None and check["column"] in {*nulls, *map(quote, nulls)}:
            what = "the check"
        if what:
            again = definition.removesuffix(_NOT_VALID) + _NOT_VALID
            alter = f"ALTER TABLE {table_sql(child.name)}"
            yield Standing(
                what,
                name,
                f"{alter} DROP CONSTRAINT {quote(name)}",
                f"{alter} ADD CONSTRAINT {quote(name)} {again}",
            )
