"""The format of datasets: every type, every kind of field, and every mistake a file can hold."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import MetaData, Table, create_engine, inspect, select
from sqlalchemy.exc import IntegrityError

from migrator.blog.csvfile import read_csv
from migrator.blog.dataset import load_dataset, read_dataset
from migrator.errors import UsageError
from scripts.load_dataset import main

if TYPE_CHECKING:
    from tests.conftest import Database

_COLUMNS = [
    ["Key", "varchar(20)"],
    ["Group", "text"],
    ["per cent %", "bigint"],
    ["yes", "boolean"],
    ["price", "decimal(10, 2)"],
    ["ratio", "double precision"],
    ["day", "date"],
    ["moment", "timestamp"],
    ["note", "TEXT"],
]
_HEADER = "Key,Group,per cent %,yes,price,ratio,day,moment,note\n"


def _write(folder: Path, rows: str, columns: Any = _COLUMNS, *, count: int = 0) -> Path:
    table = {"columns": columns, "pk": ["Key", "Group"], "rows": count}
    (folder / "dataset.json").write_text(json.dumps({"name": "made up", "tables": {"Odd Table": table}}))
    (folder / "Odd Table.csv").write_text(rows, encoding="utf-8", newline="")
    return folder


def test_every_type_and_odd_name_arrives_on_every_engine(database: Database, tmp_path: Path) -> None:
    """Values come back as they were written; keys that differ in case, accent or a trailing blank differ."""
    rows = (
        'e,g,9007199254740993,true,12.50,0.5,2024-02-29,2024-02-29T12:00:00.123456,"a, ""b""\n%s"\n'
        "E,g,\\N,0,\\N,\\N,\\N,2024-02-29T12:00:00+02:00,\\N\n"
        'é,g,-1,F,-0.01,1e10,1999-12-31,1999-12-31 23:59:59,"\\N"\n'
        "e ,g,\\N,\\N,\\N,\\N,\\N,\\N,\n"
    )

    assert load_dataset(database.engine, _write(tmp_path, _HEADER + rows)) == {"Odd Table": 4}

    table = Table("Odd Table", MetaData(), autoload_with=database.engine)
    with database.engine.connect() as connection:
        found = {row[0]: list(row[2:]) for row in connection.execute(select(table))}
    moment = datetime(2024, 2, 29, 12, 0, 0, 123456)
    assert found["e"][:1] + found["e"][4:] == [9007199254740993, date(2024, 2, 29), moment, 'a, "b"\n%s']
    assert (bool(found["e"][1]), Decimal(str(found["e"][2])), found["e"][3]) == (True, Decimal("12.5"), 0.5)
    assert found["E"][5:] == [datetime(2024, 2, 29, 10), None]
    assert found["é"][6] == r"\N"
    assert found["e "] == [None, None, None, None, None, None, ""]


def test_null_is_an_unquoted_backslash_n(tmp_path: Path) -> None:
    """A quoted one is two characters of text, and an empty field is empty text."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n\\N,"\\N"\r\n,""\r\n"x\r\ny","say ""no"", twice"\r\n\\N,\\N')

    assert list(read_csv(path)) == [
        (1, ["a", "b"]),
        (2, [None, r"\N"]),
        (3, ["", ""]),
        (4, ["x\r\ny", 'say "no", twice']),
        (6, [None, None]),
    ]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("", "header line lacks Key"),
        ("Key,Group\n", "header line lacks per cent %"),
        (_HEADER + "a,b\n", "line 2: 2 fields, the header has 9"),
        (_HEADER + "a,b,c,,,,,,\n", "line 2, column per cent %: 'c' cannot be read"),
        (_HEADER + '"a,b\n', "line 2: a quote is opened and never closed"),
        (_HEADER + 'a"b"c,d\n', "line 2: a quote stands inside field 1"),
    ],
)
def test_a_malformed_file_is_named_with_its_line_and_loads_nothing(
    tmp_path: Path, rows: str, told: str
) -> None:
    """The message says which file, which line and what is wrong; no row of it is kept."""
    engine = create_engine(f"sqlite:///{tmp_path / 'data.db'}")

    with pytest.raises(UsageError, match=told) as caught:
        load_dataset(engine, _write(tmp_path, rows))

    assert "Odd Table.csv" in str(caught.value)
    with engine.connect() as connection:
        assert connection.exec_driver_sql('SELECT count(*) FROM "Odd Table"').scalar() == 0
    engine.dispose()


def test_a_row_the_database_refuses_is_an_integrity_error_and_leaves_no_rows(
    database: Database, tmp_path: Path
) -> None:
    """A key that is there twice is the same error on every engine, COPY or INSERT."""
    columns = [["Key", "int"], ["Group", "int"]]

    with pytest.raises(IntegrityError):
        load_dataset(database.engine, _write(tmp_path, "Key,Group\n1,1\n2,2\n1,1\n", columns))

    if inspect(database.engine).has_table("Odd Table"):
        table = Table("Odd Table", MetaData(), autoload_with=database.engine)
        with database.engine.connect() as connection:
            assert connection.execute(select(table)).all() == []


def test_an_unknown_type_is_named_with_those_known(tmp_path: Path) -> None:
    """Nothing is guessed: a type without a meaning stops the load."""
    with pytest.raises(UsageError, match=r"'geometry\(4\)' is not known.*varchar"):
        read_dataset(_write(tmp_path, _HEADER, [["Key", "geometry(4)"], ["Group", "int"]]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("{", "is not a dataset description"),
        ("[]", "is not a dataset description"),
        ("{}", "'tables' is missing"),
        ('{"tables": {"a": {"columns": [["b", "int"]], "pk": ["c"], "rows": 1}}}', "unknown columns c"),
    ],
)
def test_a_malformed_description_is_a_usage_error(tmp_path: Path, text: str | None, told: str) -> None:
    """A description that is absent, no JSON, or incomplete says so."""
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)

    with pytest.raises(UsageError, match=told):
        read_dataset(tmp_path)


def test_the_script_loads_a_folder_and_says_what_it_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows per table on stdout; a second time, or with no dataset there, one line and an exit code."""
    columns = [["Key", "int"], ["Group", "int"]]
    folder = _write(tmp_path, "Key,Group\n1,1\n", columns, count=1)
    url = f"sqlite:///{tmp_path / 'data.db'}"

    assert main([str(folder), url]) == 0
    assert capsys.readouterr().out == "Odd Table: 1 rows\n"
    assert main([str(folder), url]) == 1
    assert capsys.readouterr().err == 'error: The database refused: table "Odd Table" already exists\n'
    assert main([str(tmp_path / "nowhere"), url]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_script_does_not_print_a_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that cannot be reached is named without what would open it."""
    folder = _write(tmp_path, "Key,Group\n", [["Key", "int"], ["Group", "int"]])

    for name in ("postgresql", "mysql"):
        assert main([str(folder), f"{name}://ann:s3cret@127.0.0.1:1/blog"]) == 1
        printed = capsys.readouterr()
        assert "127.0.0.1" in printed.err
        assert "s3cret" not in printed.err + printed.out
