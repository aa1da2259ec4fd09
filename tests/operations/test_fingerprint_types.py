"""Every data type's smallest difference is noticed, named by column and key, and gone when it is undone."""

from __future__ import annotations

import pytest

from migrator.fingerprint import compare, take
from tests.conftest import Database

Case = tuple[str, str, str]

POSTGRESQL: tuple[Case, ...] = (
    ("smallint", "1", "-1"),
    ("integer", "1", "2"),
    ("bigint", "9223372036854775807", "9223372036854775806"),
    ("numeric", "1.0", "1.00"),
    ("numeric", "'NaN'", "0"),
    ("real", "0.1", "0.100000009"),
    ("double precision", "0.1", "0.10000000000000002"),
    ("double precision", "'-0'", "'0'"),
    ("double precision", "'infinity'", "'NaN'"),
    ("money", "1.10", "1.11"),
    ("text", "''", "' '"),
    ("text", "'NULL'", "NULL"),
    ("text", "'a,b'", "'a'',''b'"),
    ("text COLLATE loose", "'a'", "'A'"),
    ("varchar(9)", r"U&'\00e9'", r"U&'e\0301'"),
    ("bpchar", "'a'", "'a '"),
    ("char(3)", "'a'", "'b'"),
    ('"char"', "'a'", "'b'"),
    ("name", "'a'", "'b'"),
    ("bytea", r"'\x00'", r"'\x0000'"),
    ("boolean", "true", "false"),
    ("date", "'infinity'", "'-infinity'"),
    ("time", "'00:00'", "'24:00'"),
    ("timetz", "'12:00+00'", "'13:00+01'"),
    ("timestamp", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00'"),
    ("timestamptz", "'2024-01-01 00:00:00+00'", "'2024-01-01 00:00:00+01'"),
    ("interval", "'1 month'", "'30 days'"),
    ("json", """'{"a":1}'""", """'{"a": 1}'"""),
    ("json", """'{"a":1,"a":1}'""", """'{"a":1}'"""),
    ("jsonb", "'null'", "NULL"),
    ("jsonb", "'1.0'", "'1.00'"),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
    ("inet", "'10.0.0.1'", "'10.0.0.1/24'"),
    ("cidr", "'10.0.0.0/8'", "'10.0.0.0/9'"),
    ("macaddr", "'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
    ("bit(3)", "B'101'", "B'100'"),
    ("bit varying", "B'0'", "B'00'"),
    ("point", "'(1,0.1)'", "'(1,0.10000000000000002)'"),
    ("box", "'(1,1),(0,0)'", "'(1,2),(0,0)'"),
    ("int4range", "'[1,2)'", "'[1,3)'"),
    ("int4range", "'empty'", "'(,)'"),
    ("tsvector", "'a:1'", "'a:2'"),
    ("text[]", "'{}'", "'{NULL}'"),
    ("text[]", "'{NULL}'", """'{"NULL"}'"""),
    ("int[]", "'[0:1]={1,2}'", "'{1,2}'"),
    ("mood", "'sad'", "'glad'"),
    ("pair", "'(,)'", """'("",)'"""),
    ("short", "'a'", "'b'"),
    ("pg_lsn", "'0/1'", "'0/2'"),
    ("oid", "1", "2"),
    ("regclass", "'pg_class'", "'pg_type'"),
    ("xml", "'<a/>'", "'<a></a>'"),
)

MYSQL: tuple[Case, ...] = (
    ("tinyint", "1", "-1"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551614"),
    ("bigint", "-9223372036854775808", "-9223372036854775807"),
    ("decimal(65,2)", "1.10", "1.11"),
    ("decimal(20,10)", "0", "0.0000000001"),
    ("float", "16777215", "16777216"),
    ("float(7,3)", "0.001", "0.002"),
    ("double", "0.1", "0.10000000000000002"),
    ("double", "1e300", "1.0000000000000002e300"),
    ("double(20,12)", "0.1", "0.100000000001"),
    ("bit(3)", "b'101'", "b'100'"),
    ("bit(64)", "b'0'", "b'1'"),
    ("bool", "true", "false"),
    ("char(5)", "'a'", "'b'"),
    ("varchar(9)", "''", "' '"),
    ("varchar(9)", "'NULL'", "NULL"),
    ("varchar(9)", "'a'", "'A'"),
    ("varchar(9)", "'a'", "'á'"),
    ("varchar(9)", "'~'", "NULL"),
    ("varchar(9) character set latin1", "'é'", "'e'"),
    ("varchar(9) character set utf16", "'a'", "'b'"),
    ("tinytext", "'a'", "'a '"),
    ("longtext", "repeat('a', 300000)", "concat(repeat('a', 299999), 'b')"),
    ("text character set utf8mb4", "'😀'", "'😁'"),
    ("binary(3)", "'a'", "'b'"),
    ("varbinary(9)", "x'00'", "x'0000'"),
    ("blob", "x'80ff'", "x'80fe'"),
    ("longblob", "''", "NULL"),
    ("date", "'0000-00-00'", "'2024-01-01'"),
    ("time(6)", "'-838:59:58.000001'", "'-838:59:58.000002'"),
    ("datetime(6)", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00'"),
    ("timestamp(3) null", "'2024-01-01 00:00:00.001'", "'2024-01-01 00:00:00.002'"),
    ("year", "2024", "2025"),
    ("enum('', 'a')", "''", "'a'"),
    ("set('a', 'b')", "'a'", "'a,b'"),
    ("json", """'{"a": 1}'""", """'{"a": 2}'"""),
    ("json", "'null'", "NULL"),
    ("json", "'true'", """'"true"'"""),
    ("geometry", "ST_GeomFromText('POINT(1 0.1)')", "ST_GeomFromText('POINT(1 0.10000000000000002)')"),
    ("int invisible", "1", "2"),
    ("int zerofill", "1", "2"),
)

MARIADB: tuple[Case, ...] = (
    *MYSQL,
    ("inet6", "'::1'", "'::2'"),
    ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "'123e4567-e89b-12d3-a456-426655440001'"),
)

SQLITE: tuple[Case, ...] = (
    ("", "1", "'1'"),
    ("", "1", "1.0"),
    ("", "'1'", "x'31'"),
    ("", "''", "x''"),
    ("", "''", "NULL"),
    ("", "'NULL'", "NULL"),
    ("", "0.1", "0.10000000000000002"),
    ("", "9e999", "-9e999"),
    ("", "9223372036854775807", "9223372036854775806"),
    ("", "'a' || char(0)", "'a'"),
    ("", "'a' || char(0) || 'b'", "'a' || char(0) || 'c'"),
    ("", "CAST(x'80' AS TEXT)", "CAST(x'81' AS TEXT)"),
    ("", "'a, b'", "'a'', ''b'"),
    ("TEXT COLLATE NOCASE", "'a'", "'A'"),
    ("INTEGER", "1", "2"),
)


def assert_noticed(database: Database, cases: tuple[Case, ...], setup: tuple[str, ...] = ()) -> None:
    """Put each first value in a column of one row, and exchange it for the second and back."""
    columns = ", ".join(f"c{i} {case[0]}" for i, case in enumerate(cases))
    names = ", ".join(f"c{i}" for i in range(len(cases)))
    first = ", ".join(case[1] for case in cases)
    with database.engine.begin() as connection:
        for statement in setup:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
        connection.exec_driver_sql(f"INSERT INTO t (id, {names}) VALUES (7, {first}), (8, {first})")
    before = take(database.engine)
    wrong = {}
    for place, (type_, old, new) in enumerate(cases):
        column = f"c{place}"
        for value, expected in (
            (new, [(column, ({"id": 7},))]),
            ("NULL", [(column, ({"id": 7},))]),
            (old, []),
        ):
            if value == old == "NULL" or (value == "NULL" and "NULL" in (old, new)):
                continue
            with database.engine.begin() as connection:
                for statement in setup:
                    if statement.startswith("SET"):
                        connection.exec_driver_sql(statement)
                connection.exec_driver_sql(f"UPDATE t SET {column} = {value} WHERE id = 7")
            found = [(d.column, d.keys) for d in compare(before, take(database.engine))]
            if found != expected:
                wrong[f"{type_}: {old} to {value}"] = found
    assert wrong == {}


@pytest.mark.engines("postgresql")
def test_every_type_of_postgresql(database: Database) -> None:
    """Signs, scales, units, bounds, formatting, NaN: what the type keeps, the digest sees."""
    assert_noticed(
        database,
        POSTGRESQL,
        (
            "CREATE TYPE mood AS ENUM ('sad', 'glad')",
            "CREATE TYPE pair AS (a text, b text)",
            "CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)",
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        ),
    )


@pytest.mark.engines("mysql")
def test_every_type_of_mysql(database: Database) -> None:
    """Long values, zero dates, charsets, single precision, invisible columns."""
    assert_noticed(database, MYSQL, ("SET SESSION sql_mode = ''",))


@pytest.mark.engines("mariadb")
def test_every_type_of_mariadb(database: Database) -> None:
    """As on MySQL, and its own types."""
    assert_noticed(database, MARIADB, ("SET SESSION sql_mode = ''",))


@pytest.mark.engines("sqlite")
def test_every_storage_class_of_sqlite(database: Database) -> None:
    """Integer, real, text and blob are told apart, NUL characters and malformed text come through."""
    assert_noticed(database, SQLITE)


@pytest.mark.engines("sqlite")
def test_without_rowid_null_keys_and_descending_keys(database: Database) -> None:
    """Odd keys of SQLite are compared all the same."""
    with database.engine.begin() as connection:
        for statement in (
            "CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
            "CREATE TABLE n (k TEXT PRIMARY KEY, v)",
            "CREATE TABLE d (k INTEGER PRIMARY KEY DESC, v)",
            "INSERT INTO w VALUES ('a', 1), ('b', 1)",
            "INSERT INTO n VALUES (NULL, 1), (NULL, 2), ('a', 3)",
            "INSERT INTO d VALUES ('x', 1), (NULL, 2), (3, 3)",
        ):
            connection.exec_driver_sql(statement)
    before = take(database.engine)
    with database.engine.begin() as connection:
        for table in "wnd":
            connection.exec_driver_sql(
                f"UPDATE {table} SET v = 9 WHERE v = 1 AND rowid = 1"
                if table != "w"
                else "UPDATE w SET v = 9 WHERE k = 'b'"
            )
    found = {d.object: (d.column, d.keys) for d in compare(before, take(database.engine))}
    assert found == {"w": ("v", ({"k": "b"},)), "n": ("v", ({"k": None},)), "d": ("v", ({"k": "x"},))}


KEYS = {
    "negative integer": ("BIGINT", "-5", -5),
    "snowflake": ("BIGINT", "1541815603606036480", 1541815603606036480),
    "text": ("VARCHAR(20)", "'it''s'", "it's"),
    "decimal": ("DECIMAL(10, 2)", "1.50", "1.50"),
    "date": ("DATE", "'2024-02-29'", "2024-02-29"),
}


@pytest.mark.engines("postgresql", "mysql", "mariadb")
@pytest.mark.parametrize("row_limit", [50_000, 0])
def test_keys_of_any_type_are_named(database: Database, row_limit: int) -> None:
    """Where a sum holds no small integer, the row is looked up by its key's hash."""
    from migrator.fingerprint import data_digest, differing_keys

    for name, (type_, value, expected) in KEYS.items():
        table = "by_" + name.replace(" ", "_")
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {table} (k {type_} PRIMARY KEY, v INTEGER)")
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({value}, 1)")
        with database.engine.connect() as connection:
            before = data_digest(connection, table, row_limit=row_limit)
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET v = 2")
        with database.engine.connect() as connection:
            (found,) = differing_keys(connection, before, table)
        assert (found.column, found.keys) == ("v", ({"k": expected},)), name


@pytest.mark.engines("mysql", "mariadb")
def test_binary_keys_are_written_in_hexadecimal(database: Database) -> None:
    """A key of bytes has no text."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (k BINARY(2) PRIMARY KEY, v INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (x'00ff', 1)")
    before = take(database.engine)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE t SET v = 2")
    assert [d.keys for d in compare(before, take(database.engine))] == [({"k": "0x00FF"},)]


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_the_session_does_not_colour_the_digest(database: Database) -> None:
    """Time zone, formats and padding of the session change nothing, and are as they were afterwards."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, ts TIMESTAMP NULL, c CHAR(9), f FLOAT)"
        )
        connection.exec_driver_sql("INSERT INTO t VALUES (1, '2024-01-01 00:00:00', 'a', 0.1)")
    before = take(database.engine)
    settings = {
        "postgresql": (
            "SET timezone = 'Asia/Tokyo'",
            "SET datestyle = 'German'",
            "SET extra_float_digits = 0",
        ),
    }.get(database.family, ("SET time_zone = '+09:00'", "SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'"))
    asked = "SHOW timezone" if database.family == "postgresql" else "SELECT CONCAT(@@time_zone, @@sql_mode)"
    with database.engine.connect() as connection:
        for statement in settings:
            connection.exec_driver_sql(statement)
        connection.commit()
        had = connection.exec_driver_sql(asked).scalar_one()
        connection.rollback()
        assert take(connection).identical(before)
        assert connection.exec_driver_sql(asked).scalar_one() == had
