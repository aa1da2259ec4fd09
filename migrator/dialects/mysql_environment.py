"""What the facts of a reference do not hold: what this account may do, how the server is set, who else
is at work. Everything is read; nothing is tried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from migrator.bytesize import bytes_told
from migrator.catalog import Facts, Server, Table
from migrator.dialects.mysql_definition import literal, quote
from migrator.dialects.mysql_fence import needs_view
from migrator.dialects.mysql_grants import Grants, account, grants
from migrator.dialects.mysql_half_checked import half_checked
from migrator.dialects.mysql_preflight import rebuilds
from migrator.dialects.mysql_words import nullable_columns, table_sql
from migrator.dialects.telling import Blocker, Problem, no_parents
from migrator.settings import Settings

# A rebuild writes about this much of the table per second on modest disks (measured 40 to 60 MB/s).
_REBUILD_BYTES_PER_SECOND: Final = 30_000_000
_WORTH_A_WORD: Final = 1 << 30

_NAME_TAKEN: Final = """
    SELECT table_name FROM information_schema.table_constraints
     WHERE constraint_schema = :database AND constraint_name = :name AND constraint_type = 'FOREIGN KEY'"""
_REPLICAS: Final = """
    SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"""
_DISK: Final = """
    SELECT MIN(available) * 1024 FROM information_schema.disks WHERE :directory LIKE CONCAT(path, '%')
       AND LENGTH(path) = (SELECT MAX(LENGTH(path)) FROM information_schema.disks
                            WHERE :directory LIKE CONCAT(path, '%'))"""


def environment(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """Everything that stands against working on the reference here and now, but for other sessions."""
    variables = _variables(connection, "VARIABLES")
    may = grants(connection)
    yield from _read_only(facts.server, variables, may)
    lacking: list[Problem] = []
    if may is not None:
        who = account(connection)
        lacking = list(_privileges(facts, may, who))
        yield from lacking
        yield from _triggers(facts, may, variables)
        yield from _fence(facts, may, who)
    yield from _settings(facts, variables)
    if not lacking:  # it asks the tables themselves
        yield from half_checked(connection, facts, variables)
    yield from _constraint_name(connection, facts)
    if rebuilds(facts):
        yield from _room(connection, facts, variables)
        yield from _online_log(facts, variables, _variables(connection, "STATUS"))
    yield from _replicas(connection, facts)


def lacks_on_parent(connection: Connection, facts: Facts, makes: Sequence[str]) -> Problem | None:
    """What the account lacks to make rows of the parent; nothing where the server will not tell."""
    may = grants(connection)
    lacking = [word for word in ("SELECT", *makes) if may and not may.allow(word, *_where(facts.parent))]
    if not lacking:
        return None
    who = account(connection)
    return no_parents(f"Account {who}", lacking, facts.parent, table_sql(facts.parent.name), who)


def unchecked_sessions(sessions: Sequence[Blocker], facts: Facts) -> Iterator[Problem]:
    """Sessions with the checks off: the proof finds what they write, as long as they stop."""
    for each in sessions:
        yield Problem(
            "warn",
            "checks-off",
            f"{each}: it can write orphans of {facts.reference} whatever is declared.",
            f"Have it SET foreign_key_checks = 1, or: KILL {each.pid};",
        )


def long_transactions(holders: Sequence[Blocker], facts: Facts, settings: Settings) -> Iterator[Problem]:
    """Transactions on either table that are older than the operator allows: an ALTER would wait for them,
    and everybody else for the ALTER."""
    names = " or ".join(str(name) for name in dict.fromkeys((facts.child.name, facts.parent.name)))
    for each in holders:
        if each.age_seconds > settings.long_transaction:
            yield Problem(
                "refuse",
                "long-transaction",
                f"In the way is a session older than {settings.long_transaction:.0f} s with locks on "
                f"{names}: {each}.",
                f"Wait for it, or: KILL {each.pid};",
            )


def _variables(connection: Connection, what: str) -> dict[str, str]:
    rows = connection.exec_driver_sql(f"SHOW GLOBAL {what}").all()
    return {str(row[0]).lower(): str(row[1]) for row in rows}


def _on(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "OFF").upper() not in ("OFF", "0", "", "NO")


def _read_only(server: Server, variables: Mapping[str, str], may: Grants | None) -> Iterator[Problem]:
    exempting = ["SUPER", "CONNECTION_ADMIN"]
    if server.family == "mariadb":
        # From 10.11 on SUPER no longer implies it: https://mariadb.com/kb/en/grant/#read-only-admin
        exempting = ["READ_ONLY ADMIN", "READ ONLY ADMIN", *(["SUPER"] if server.version < (10, 11) else [])]
    exempt = may is not None and may.everywhere(*exempting)
    if _on(variables, "super_read_only") or (_on(variables, "read_only") and not exempt):
        yield Problem(
            "refuse",
            "read-only",
            "This server is read_only: it is a replica, or someone stopped all writing.",
            "Connect to the primary; or, if this is it: SET GLOBAL read_only = 0;",
        )
    elif _on(variables, "innodb_read_only") or _on(variables, "transaction_read_only"):
        yield Problem(
            "refuse",
            "read-only",
            "This server takes read-only transactions alone (innodb_read_only or transaction_read_only).",
            "Connect to one that can be written to.",
        )


def _privileges(facts: Facts, may: Grants, who: str) -> Iterator[Problem]:
    child, parent = facts.child, facts.parent
    # MariaDB knows REFERENCES and asks for it nowhere; the fence is its own.
    theirs = "LOCK TABLES" if facts.server.family == "mariadb" else "REFERENCES"
    wanted: list[tuple[Table, tuple[str, ...]]] = [
        (child, ("SELECT", "INSERT", "UPDATE", "DELETE", "ALTER", "INDEX")),
        (parent, ("SELECT", theirs)),
    ]
    if facts.server.family == "mariadb":
        wanted.append((child, ("LOCK TABLES",)))
    for table, words in wanted:
        database, name = _where(table)
        lacking = [word for word in words if not may.allow(word, database, name)]
        if lacking:
            # LOCK TABLES can be granted on whole databases only.
            on = f"{quote(database)}.*" if "LOCK TABLES" in lacking else table_sql(table.name)
            yield Problem(
                "refuse",
                "no-privilege",
                f"Account {who} lacks {', '.join(lacking)} on {table.name}.",
                f"GRANT {', '.join(lacking)} ON {on} TO {who};",
            )
    here = str(facts.extra["current"] or _where(child)[0])
    lacking = [word for word in ("CREATE", "DROP", "INSERT", "UPDATE", "DELETE") if not may.allow(word, here)]
    if lacking:
        yield Problem(
            "refuse",
            "no-create",
            f"Account {who} may not make tables of ours in {here}: it lacks {', '.join(lacking)}.",
            f"GRANT {', '.join(lacking)} ON {quote(here)}.* TO {who};",
        )
    if not may.everywhere("PROCESS"):
        yield Problem(
            "warn",
            "no-process",
            f"Account {who} lacks PROCESS: a session that is in the way cannot be named.",
            f"GRANT PROCESS ON *.* TO {who};",
        )


def _triggers(facts: Facts, may: Grants, variables: Mapping[str, str]) -> Iterator[Problem]:
    if not nullable_columns(facts) or facts.not_null:
        return
    database, name = _where(facts.child)
    logged = _on(variables, "log_bin") and not _on(variables, "log_bin_trust_function_creators")
    if not may.allow("TRIGGER", database, name):
        fix = f"GRANT TRIGGER ON {table_sql(facts.child.name)} TO ...;"
    elif logged and not may.everywhere("SUPER", "SET_USER_ID", "BINLOG ADMIN"):  # 1419
        fix = "SET GLOBAL log_bin_trust_function_creators = 1;"
    else:
        return
    yield Problem(
        "warn",
        "no-trigger",
        f"No NULL guard can be put on {facts.child.name}: this account may create no trigger there (1419). "
        "A NULL written during the rebuild costs that rebuild, and it is tried again.",
        fix,
    )


def _fence(facts: Facts, may: Grants, who: str) -> Iterator[Problem]:
    """Without the fence the foreign key is added all the same; see `mysql_fence` for what may happen then."""
    if facts.foreign_key is not None or facts.reference.is_self_reference:
        return
    wanted = [("LOCK TABLES", _where(table)[0]) for table in (facts.child, facts.parent)]
    if needs_view(facts):
        # CREATE OR REPLACE and DROP VIEW want the other.
        wanted += [(word, _where(facts.child)[0]) for word in ("CREATE VIEW", "DROP")]
    lacking = [(word, database) for word, database in dict.fromkeys(wanted) if not may.allow(word, database)]
    # MariaDB's lock is more than a courtesy there: see _privileges.
    if facts.server.family == "mariadb":
        lacking = [(word, database) for word, database in lacking if word != "LOCK TABLES"]
    if not lacking:
        return
    yield Problem(
        "warn",
        "no-fence",
        f"Account {who} lacks {', '.join(dict.fromkeys(word for word, _ in lacking))}: {facts.parent.name} "
        f"cannot be locked before {facts.child.name} while the foreign key is added, and a transaction that "
        "writes both may be chosen as the victim of a deadlock (1213).",
        " ".join(f"GRANT {word} ON {quote(database)}.* TO {who};" for word, database in lacking),
    )


def _settings(facts: Facts, variables: Mapping[str, str]) -> Iterator[Problem]:
    modes = variables.get("sql_mode", "").upper()
    if "STRICT_" not in modes and "TRADITIONAL" not in modes:
        yield Problem(
            "warn",
            "not-strict",
            "The server's sql_mode is not strict: where an application writes NULL into NOT NULL, it stores "
            "0. Our own sessions are strict.",
            f"SET GLOBAL sql_mode = {literal('STRICT_TRANS_TABLES,' + variables.get('sql_mode', ''))};",
        )
    if _on(variables, "log_bin") and variables.get("binlog_format", "ROW").upper() == "STATEMENT":  # 1665
        yield Problem(
            "refuse",
            "binlog-format",
            "binlog_format is STATEMENT: writing at READ COMMITTED is refused (1665).",
            "SET GLOBAL binlog_format = 'ROW'; and connect again.",
        )
    if not _on(variables, "foreign_key_checks"):
        yield Problem(
            "warn",
            "checks-off",
            "foreign_key_checks is OFF for every new session of this server: whatever is declared, they go "
            f"on writing orphans of {facts.reference}.",
            "SET GLOBAL foreign_key_checks = 1; and let the application connect again.",
        )
    if _on(variables, "wsrep_on"):
        yield Problem(
            "warn",
            "cluster",
            "This is a Galera cluster: GET_LOCK and LOCK TABLES hold on this node alone.",
            "Let the application write to this node only while this runs.",
        )


def _constraint_name(connection: Connection, facts: Facts) -> Iterator[Problem]:
    """On MySQL a foreign key's name is unique in its database (1826)."""
    if facts.foreign_key is not None:
        return
    database, name = _where(facts.child)
    values = {"database": database, "name": facts.reference.name}
    for row in connection.execute(sa.text(_NAME_TAKEN), values).all():
        if str(row[0]) != name:
            yield Problem(
                "refuse",
                "name-taken",
                f"Table {row[0]} has a foreign key called {facts.reference.name} already.",
                "Give the reference another name.",
            )


def _room(connection: Connection, facts: Facts, variables: Mapping[str, str]) -> Iterator[Problem]:
    """The rebuild writes the table once more beside itself. Only MariaDB's DISKS plugin can say how
    much is free; elsewhere a large table is worth a word."""
    needed = facts.child.bytes or 0
    free = free_at(connection, variables.get("datadir", "/"))
    if free is not None and free < needed * 1.2:
        yield Problem(
            "refuse",
            "no-room",
            f"The rebuild of {facts.child.name} needs about {bytes_told(needed * 1.2)}; "
            f"{bytes_told(free)} are free.",
            f"Make room where {variables.get('datadir')} is.",
        )
    elif free is None and needed > _WORTH_A_WORD:
        yield Problem(
            "warn",
            "room-unknown",
            f"The rebuild of {facts.child.name} needs about {bytes_told(needed * 1.2)} where "
            f"{variables.get('datadir')} is; this server does not say how much is free there.",
            "Look with df before you go on.",
        )


def free_at(connection: Connection, directory: str) -> int | None:
    """The bytes free on the server's disk, by MariaDB's DISKS plugin; None where there is none."""
    try:
        free = connection.scalar(sa.text(_DISK), {"directory": directory})
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return None
    return None if free is None else int(free)


def _online_log(facts: Facts, variables: Mapping[str, str], status: Mapping[str, str]) -> Iterator[Problem]:
    """What is written during the rebuild is kept in a log of limited size; past it, all is lost (1799)."""
    limit = int(variables.get("innodb_online_alter_log_max_size", "0") or 0)
    uptime = max(1, int(status.get("uptime", "1")))
    rate = int(status.get("innodb_os_log_written", "0")) / uptime
    expected = rate * (facts.child.bytes or 0) / _REBUILD_BYTES_PER_SECOND
    if limit and expected > limit / 2:
        yield Problem(
            "warn",
            "online-log",
            f"The rebuild of {facts.child.name} may overflow innodb_online_alter_log_max_size "
            f"({bytes_told(limit)}): at this server's average rate about {bytes_told(expected)} are written "
            "meanwhile.",
            f"SET GLOBAL innodb_online_alter_log_max_size = {int(expected * 4)};",
        )


def _replicas(connection: Connection, facts: Facts) -> Iterator[Problem]:
    try:
        count = int(connection.scalar(sa.text(_REPLICAS)) or 0)
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return
    if count and rebuilds(facts):
        yield Problem(
            "warn",
            "replicas",
            f"{count} replica(s) follow: each begins the rebuild of {facts.child.name} when it is done here, "
            "and lags for as long as it takes.",
            "Send no reads to them that must be fresh.",
        )


def _where(table: Table) -> tuple[str, str]:
    return str(table.extra["database"]), str(table.extra["stored_name"])
