"""What the facts of a reference do not hold: what this role may do, who else is at work, where the
connection really ends. Everything is read; nothing is tried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.catalog import Facts
from migrator.dialects import pg_locks, pg_partition_preflight, pg_sessions
from migrator.dialects.pg_null import null_columns
from migrator.dialects.pg_words import columns_sql, literal, quote, table_sql
from migrator.dialects.telling import Blocker, Problem
from migrator.reference import TableName
from migrator.settings import Settings

# A logical slot this far behind keeps WAL on the primary's disk, and a sweep writes more of it.
_SLOT_BEHIND: Final = 1 << 30

# Other clients of a busy pool may happen to leave us our server connection once, hardly this often.
_PROBES: Final = 5

_SERVER: Final = """
SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') AS read_only,
       current_setting('session_replication_role') AS replication_role, current_user AS role,
       current_schema() AS schema,
       current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE') AS may_create
"""

_CHILD: Final = """
SELECT pg_has_role(c.relowner, 'USAGE') AS owned, pg_get_userbyid(c.relowner) AS owner,
       has_schema_privilege(c.relnamespace, 'CREATE') AS may_create, row_security_active(c.oid) AS rls,
       has_table_privilege(c.oid, 'SELECT') AS may_select, has_table_privilege(c.oid, 'UPDATE') AS may_update,
       has_table_privilege(c.oid, 'DELETE') AS may_delete,
       NOT EXISTS (SELECT FROM pg_publication_tables t JOIN pg_publication p USING (pubname)
                   WHERE t.schemaname = n.nspname AND t.tablename = c.relname
                     AND (p.pubupdate OR p.pubdelete))
         OR c.relreplident IN ('f', 'i')
         OR c.relreplident = 'd' AND EXISTS (SELECT FROM pg_index i
                                             WHERE i.indrelid = c.oid AND i.indisprimary) AS replicable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)::oid
"""

_PARENT: Final = """
SELECT row_security_active(c.oid) AS rls,
       coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'REFERENCES')), false) AS may_reference,
       coalesce(bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT')), false) AS may_select
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = to_regclass(:name)::oid AND a.attname = ANY(:columns)
GROUP BY c.oid
"""

_SLOTS: Final = """
SELECT slot_name::text AS name, active,
       pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(confirmed_flush_lsn, restart_lsn))::bigint AS behind
FROM pg_replication_slots WHERE slot_type = 'logical'
"""

_PREPARED: Final = """
SELECT gid, extract(epoch FROM clock_timestamp() - prepared) AS age
FROM pg_prepared_xacts WHERE database = current_database()
"""

_RELATION: Final = """
SELECT c.relkind::text FROM pg_class c
WHERE c.oid = to_regclass(:name)::oid
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indrelid = to_regclass(:child)::oid)
"""

_BUILDERS: Final = """
SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(:name)::oid
"""


def problems(connection: Connection, facts: Facts, settings: Settings) -> Iterator[Problem]:
    """Everything that stands against working on the reference here and now.

    Args:
        connection: inside a snapshot.
        facts: of the reference; both tables exist.
        settings: `long_transaction` says how old is too old.
    """
    server = connection.execute(sa.text(_SERVER)).mappings().one()
    found = list(server_problems(dict(server)))
    yield from found
    if any(problem.severity == "refuse" for problem in found):
        return
    yield from _privileges(connection, facts, server["role"])
    yield from _index_name(connection, facts)
    yield from pg_partition_preflight.problems(connection, facts)
    yield from _sessions(connection, facts, settings)
    yield from _slots(connection)


def server_problems(server: Mapping[str, Any]) -> Iterator[Problem]:
    """What the server and our place on it say, as `_SERVER` reads them."""
    if server["standby"]:
        yield Problem(
            "refuse",
            "standby",
            "This server is a standby: nothing can be written here.",
            "Connect to the primary (target_session_attrs=read-write in the URL finds it).",
        )
    elif server["read_only"] == "on":
        yield Problem(
            "refuse",
            "read-only",
            f"Transactions of role {server['role']} are read-only by default here.",
            f"ALTER ROLE {quote(server['role'])} SET default_transaction_read_only = off;",
        )
    if server["replication_role"] != "origin":
        yield Problem(
            "refuse",
            "replication-role",
            f"session_replication_role is {server['replication_role']}: foreign keys are not checked.",
            f"ALTER ROLE {quote(server['role'])} RESET session_replication_role;",
        )
    schema = server["schema"]
    if (schema or "").startswith("pg_temp"):
        yield Problem(
            "refuse",
            "temporary-schema",
            "search_path begins with pg_temp: our journal and the quarantine would be gone with the session.",
            f"Name it last: ALTER ROLE {quote(server['role'])} SET search_path = public, pg_temp;",
        )
    elif not server["may_create"]:
        yield Problem(
            "refuse",
            "no-create",
            f"Role {server['role']} may not create our tables in "
            + (f"schema {schema}." if schema else "any schema: search_path names none that exists."),
            f"GRANT CREATE ON SCHEMA {quote(schema or 'public')} TO {quote(server['role'])};",
        )


def _privileges(connection: Connection, facts: Facts, role: str) -> Iterator[Problem]:
    child, parent, grantee = facts.child.name, facts.parent.name, quote(role)
    ours = connection.execute(sa.text(_CHILD), {"name": table_sql(child)}).mappings().one()
    if not ours["owned"]:
        yield Problem(
            "refuse",
            "not-owner",
            f"Role {role} does not own {child}; {ours['owner']} does, and only an owner may alter a table.",
            f"GRANT {quote(ours['owner'])} TO {grantee}; or connect as {ours['owner']}.",
        )
    lacking = [word for word in ("SELECT", "UPDATE", "DELETE") if not ours[f"may_{word.lower()}"]]
    if lacking:
        yield Problem(
            "refuse",
            "no-privilege",
            f"Role {role} lacks {', '.join(lacking)} on {child}.",
            f"GRANT {', '.join(lacking)} ON {table_sql(child)} TO {grantee};",
        )
    if not ours["may_create"] and (facts.reference.index or null_columns(facts)):
        yield Problem(
            "refuse",
            "no-create",
            f"Role {role} may not create the index and the NULL guard of {child} in schema {child.schema}.",
            f"GRANT CREATE ON SCHEMA {quote(child.schema)} TO {grantee};",
        )
    if not ours["replicable"]:
        yield Problem(
            "refuse",
            "no-replica-identity",
            f"{child} is published and has no replica identity: its rows can be neither updated nor deleted.",
            f"ALTER TABLE {table_sql(child)} REPLICA IDENTITY FULL;",
        )
    values = {"name": table_sql(parent), "columns": list(facts.reference.parent_columns)}
    theirs = connection.execute(sa.text(_PARENT), values).mappings().one()
    columns = columns_sql(facts.reference.parent_columns)
    # Without SELECT on the parent VALIDATE still works, row by row: 24 times slower.
    lacking = [w for w, may in (("REFERENCES", "may_reference"), ("SELECT", "may_select")) if not theirs[may]]
    if lacking:
        yield Problem(
            "refuse",
            "no-privilege",
            f"Role {role} lacks {' and '.join(lacking)} on {parent}({', '.join(values['columns'])}).",
            f"GRANT {', '.join(f'{word} ({columns})' for word in lacking)} ON {table_sql(parent)} "
            f"TO {grantee};",
        )
    for table, row in {child: ours, parent: theirs}.items():
        if row["rls"]:
            yield Problem(
                "refuse",
                "row-security",
                f"Row level security hides rows of {table} from role {role}: hidden parents look missing.",
                f"ALTER ROLE {grantee} BYPASSRLS; or connect as a role that no policy binds.",
            )


def _index_name(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """The index's name may be taken by something else of the schema."""
    if not facts.reference.index or facts.index is not None:
        return
    index = TableName(facts.reference.index_name, facts.child.name.schema)
    values = {"name": table_sql(index), "child": table_sql(facts.child.name)}
    for builder in connection.execute(sa.text(_BUILDERS), values).scalars():
        yield Problem(
            "refuse",
            "invalid-index",
            f"Session {builder} is building {index} at this moment.",
            "Wait until it is there: an index that serves is taken as it is.",
        )
    if connection.execute(sa.text(_RELATION), values).first() is not None:
        yield Problem(
            "refuse",
            "name-taken",
            f"{index}, the name of the index for {facts.reference}, belongs to something else.",
            "Give the reference's index another name (index_name).",
        )


def _sessions(connection: Connection, facts: Facts, settings: Settings) -> Iterator[Problem]:
    tables = dict.fromkeys((facts.child.name, facts.parent.name))
    limit = settings.long_transaction
    holders = pg_locks.holders(connection, ((table, "SHARE ROW EXCLUSIVE") for table in tables))
    names = " or ".join(str(table) for table in tables)
    for each in holders:
        if each.kind == "wraparound":
            yield _in_the_way(
                each, f"an anti-wraparound vacuum of {names}, which never gives way", "wait for it"
            )
        elif each.kind == "prepared":
            yield _in_the_way(
                each,
                f"a prepared transaction with locks on {names}, which stay until someone ends it",
                each.end,
            )
        elif each.kind == "session" and each.age_seconds > limit:
            yield _in_the_way(
                each,
                f"a transaction older than {limit:.0f} s with locks on {names}",
                f"Wait for it, or {each.end}",
            )
    named = {each.pid for each in holders}
    for each in pg_locks.snapshot_holders(connection):
        if each.age_seconds > limit and each.pid not in named:
            yield Problem(
                "warn",
                "long-transaction",
                f"{each} is open: CREATE INDEX CONCURRENTLY waits for it, and vacuum cannot clean up.",
                f"Wait for it, or {each.end}",
            )
    for row in connection.execute(sa.text(_PREPARED)).mappings():
        if row["gid"] not in named:
            yield Problem(
                "warn",
                "prepared-transaction",
                f"Prepared transaction {row['gid']!r} is {float(row['age']):.0f} s old: "
                "vacuum cleans up nothing newer.",
                f"COMMIT PREPARED {literal(row['gid'])}; or ROLLBACK PREPARED {literal(row['gid'])};",
            )


def _in_the_way(blocker: Blocker, what: str, fix: str) -> Problem:
    slug = {"wraparound": "wraparound-vacuum", "prepared": "prepared-transaction"}
    return Problem(
        "refuse", slug.get(blocker.kind, "long-transaction"), f"In the way is {what}: {blocker}.", fix
    )


def _slots(connection: Connection) -> Iterator[Problem]:
    for slot in connection.execute(sa.text(_SLOTS)).mappings():
        if (slot["behind"] or 0) > _SLOT_BEHIND:
            yield Problem(
                "warn",
                "slot-behind",
                f"Logical replication slot {slot['name']} is {slot['behind'] / _SLOT_BEHIND:.1f} GiB behind"
                + ("" if slot["active"] else " and nobody reads from it")
                + ": every row swept makes it more.",
                "Let its subscriber catch up, or drop the slot.",
            )


def pooling_problem(before: int, other: int, after: int) -> Iterable[Problem]:
    """What the process ids behind two client connections say of a pooler between us and the server.

    Args:
        before: the server process of our connection.
        other: that of a second connection, inside a transaction that is still open.
        after: that of ours again, meanwhile.
    """
    if before == after and other != before:
        return ()
    problem = Problem(
        "refuse",
        "transaction-pooling",
        "The connection goes through a pooler in transaction mode (pgbouncer or the like): one session's "
        "settings and locks would end up in another's.",
        "Connect to the server itself, or to a pool in session mode.",
    )
    return (problem,)


def pooling(connection: Connection) -> Iterator[Problem]:
    """Whether our server connection stays ours between two transactions.

    A pooler answers the start of a session with a process id of its own making, so a direct
    connection is known by one id being the other, and nothing further is asked. Otherwise a second
    connection is opened: while its transaction lasts, a pool in transaction mode has given it what
    was ours, or gives us another.

    Args:
        connection: outside a transaction.
    """
    announced = getattr(getattr(connection.connection.dbapi_connection, "info", None), "backend_pid", None)
    if announced is None or announced == _process(connection):
        return
    with connection.engine.connect() as second:
        for _ in range(_PROBES):
            before = _process(connection)
            with pg_sessions.snapshot(second):
                other = int(second.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
                # A pool of one connection has given it away: to ask for ours again would be to wait for us.
                after = before if other == before else _process(connection)
                found = list(pooling_problem(before, other, after))
            if found:
                yield from found
                return


def _process(connection: Connection) -> int:
    found = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    if connection.in_transaction():
        connection.commit()
    return found
