"""`migrator report` says what is there, in every format, and changes nothing."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from migrator.blog import models
from migrator.blog.seed import SeedCounts, seed
from migrator.cli.options import read_only_session
from tests.operations.orphan_cases import all_cases, composite, fill, key, simple, table
from tests.operations.reporting import check_schema, run

if TYPE_CHECKING:
    from tests.conftest import Database

BLOG = "post.user_id -> user.id"
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "orphan_report.py"


def _blog(database: Database) -> SeedCounts:
    with database.engine.begin() as connection:
        return seed(connection, posts=400, users=40, null_share=0.05, dangling_share=0.1)


def _snapshot(database: Database) -> list[list[tuple[object, ...]]]:
    with database.engine.connect() as connection:
        metadata = sa.MetaData()
        metadata.reflect(connection)
        return [
            [(table.name,), *(tuple(row) for row in connection.execute(table.select()))]
            for table in metadata.sorted_tables
        ]


def test_the_blog_is_reported_without_being_asked_about(database: Database) -> None:
    """Without a reference the column that looks like one is found, and its counts are the seed's."""
    seeded = _blog(database)
    before = _snapshot(database)

    ran = run("report", "--url", database.url, "--format", "json")

    assert ran.code == 3
    check_schema(ran.json)
    (found,) = ran.json["references"]
    assert (found["reference"], found["origin"], found["state"]) == (BLOG, "name", "none")
    assert found["counts"] == {
        "rows": seeded.rows,
        "valid": seeded.valid,
        "null": seeded.null,
        "partial": 0,
        "dangling": seeded.dangling,
        "missing_parents": seeded.missing_parents,
    }
    assert ran.json["summary"]["orphans"] == seeded.null + seeded.dangling
    assert {finding["slug"] for finding in found["findings"]} >= {
        "null-reference",
        "dangling-reference",
        "missing-foreign-key",
        "missing-index",
    }
    assert _snapshot(database) == before


def test_samples_name_rows_that_are_orphans(database: Database) -> None:
    """Each sample's key is that of an orphan of its kind; --limit bounds them."""
    case = composite(database.engine)
    ran = run("report", "--url", database.url, "-r", str(case.reference), "--format", "json", "--limit", "3")
    (found,) = ran.json["references"]
    for kind in ("null", "partial", "dangling"):
        samples = [tuple(sample["key"].values()) for sample in found["samples"][kind]]
        assert samples == case.keys(kind)[:3]
    assert [one["rows"] for one in found["top_missing_parents"]] == [rows for _, rows in case.missing()[:3]]


def test_a_clean_reference_exits_with_0(database: Database) -> None:
    """No orphans, no failure; a declared foreign key is found by itself."""
    models.Base.metadata.create_all(database.engine)
    ran = run("report", "--url", database.url, "--format", "json")
    assert ran.code == 0
    (found,) = ran.json["references"]
    assert found["origin"] == "declared"
    assert found["state"] != "none"
    assert found["orphans"] == 0


def test_no_fail_makes_it_0(database: Database) -> None:
    """Orphans are reported and the exit code is 0 all the same."""
    _blog(database)
    assert run("report", "--url", database.url, "--no-fail").code == 0


def test_null_is_no_orphan_where_it_is_right(database: Database) -> None:
    """--nullable takes NULL out of the orphans and leaves it in the counts."""
    seeded = _blog(database)
    ran = run("report", "--url", database.url, "-r", BLOG, "--nullable", "--format", "json")
    (found,) = ran.json["references"]
    assert found["orphans"] == seeded.dangling
    assert found["counts"]["null"] == seeded.null
    assert "null-reference" not in {finding["slug"] for finding in found["findings"]}


def test_the_models_say_what_to_look_at(database: Database) -> None:
    """--models takes the foreign keys the models declare, whatever the database has."""
    seeded = _blog(database)
    ran = run("report", "--url", database.url, "--models", "migrator.blog.models:Base", "--format", "json")
    (found,) = ran.json["references"]
    assert (found["origin"], found["nullable"]) == ("models", False)
    assert found["orphans"] == seeded.null + seeded.dangling


def test_every_orphan_is_in_the_csv(database: Database) -> None:
    """The CSV holds each orphan's key and value and a blank for a person to fill in."""
    case = simple(database.engine)
    ran = run("report", "--url", database.url, "-r", str(case.reference), "--format", "csv")
    assert ran.code == 3
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert list(rows[0]) == ["reference", "kind", "key:id", "value:user_id", "new:user_id"]
    for kind in ("null", "dangling"):
        assert [(int(row["key:id"]),) for row in rows if row["kind"] == kind] == case.keys(kind)
    assert {row["new:user_id"] for row in rows} == {""}
    values = {one["id"]: one["user_id"] for one in case.children}
    assert all(row["value:user_id"] == str(values[int(row["key:id"])] or "") for row in rows)


def test_the_csv_of_several_references_has_the_columns_of_all(database: Database) -> None:
    """Columns that one reference does not have stay blank in its rows."""
    one, two = simple(database.engine), composite(database.engine)
    ran = run(
        "report",
        "--url",
        database.url,
        "-r",
        str(one.reference),
        "-r",
        str(two.reference),
        "--format",
        "csv",
    )
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    counted = one.counts().orphans(one.reference) + two.counts().orphans(two.reference)
    assert len(rows) == counted
    assert {row["key:part"] for row in rows if row["reference"] == str(one.reference)} == {""}


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_case_can_be_shown(database: Database, form: str) -> None:
    """Text, Markdown and HTML are written for every shape of key and every kind of name."""
    arguments = [word for case in all_cases(database.engine) for word in ("-r", str(case.reference))]
    ran = run("report", "--url", database.url, *arguments, "--format", form)
    assert ran.code == 3
    assert "Orphan report" in ran.out
    assert "dangling" in ran.out


def test_the_statements_shown_run_as_they_are(database: Database) -> None:
    """The statement a finding shows, pasted into the engine's own client, lists the orphans."""
    for case in all_cases(database.engine):
        ran = run("report", "--url", database.url, "-r", str(case.reference), "--format", "json")
        (found,) = ran.json["references"]
        for finding in found["findings"]:
            if "sql" in finding and "\\" not in str(case.children):
                listed = database.client(finding["sql"]).stdout.splitlines()
                kind = finding["slug"].removesuffix("-reference")
                # Some clients print a header and a footer, so there are at least as many lines.
                assert len(listed) >= len(case.keys(kind))


def test_keys_that_json_cannot_hold_are_text(database: Database) -> None:
    """Decimals, bytes and dates come as text that is the same in every run."""
    engine = database.engine
    fill(engine, table(engine, "parent", key("id", sa.Numeric(10, 2))), [])
    child = table(engine, "child", key("day", sa.Date), sa.Column("parent", sa.Numeric(10, 2)))
    fill(engine, child, [])
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO child (day, parent) VALUES ('2024-02-29', 1.5)"))
    ran = run("report", "--url", database.url, "-r", "child.parent -> parent.id", "--format", "json")
    (sample,) = ran.json["references"][0]["samples"]["dangling"]
    assert sample["key"] == {"day": "2024-02-29"}
    assert float(sample["value"]["parent"]) == 1.5


def test_a_child_without_a_key_is_counted(database: Database) -> None:
    """Its rows are named by where they lie, or not at all; the lack is a finding."""
    engine = database.engine
    fill(engine, table(engine, "parent", key("id")), [{"id": 1}])
    fill(engine, table(engine, "child", sa.Column("parent", sa.Integer)), [{"parent": 1}, {"parent": 2}])
    ran = run("report", "--url", database.url, "-r", "child.parent -> parent.id", "--format", "json")
    (found,) = ran.json["references"]
    assert found["counts"]["dangling"] == 1
    place = {"sqlite": {"rowid": 2}, "postgresql": {"ctid": "(0,2)"}}.get(database.family, {})
    assert found["samples"]["dangling"] == [{"key": place, "value": {"parent": 2}}]
    assert "no-key" in {finding["slug"] for finding in found["findings"]}
    assert ran.code == 3


@pytest.mark.engines("postgresql")
def test_types_the_server_will_not_compare_are_a_finding(database: Database) -> None:
    """text -> integer cannot be counted on PostgreSQL; the rest of the report is there all the same."""
    seeded = _blog(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE note (id int PRIMARY KEY, user_id text)")
    ran = run(
        "report", "--url", database.url, "-r", "note.user_id -> user.id", "-r", BLOG, "--format", "json"
    )
    assert ran.code == 3
    check_schema(ran.json)
    mismatch, blog = ran.json["references"]
    assert mismatch["counts"] is None
    assert "type" in " ".join(finding["slug"] for finding in mismatch["findings"])
    assert blog["orphans"] == seeded.null + seeded.dangling


@pytest.mark.engines("postgresql")
def test_rows_hidden_by_rls_are_an_error_and_no_orphans(database: Database) -> None:
    """A role that row security hides parents from gets an error, not a report of false orphans."""
    _blog(database)
    role = f"{database.name}_reader"
    url = sa.make_url(database.url).set(username=role, password="reader")
    with database.engine.begin() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'reader'",
            f'GRANT SELECT ON post, "user" TO {role}',
            'ALTER TABLE "user" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY half ON "user" TO {role} USING (id < 10)',
        ):
            connection.exec_driver_sql(statement)
    try:
        ran = run("report", "--url", url.render_as_string(hide_password=False), "-r", BLOG)
    finally:
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
    assert ran.code == 1
    assert "row-level security" in ran.err
    assert ran.out == ""


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_role_that_may_only_read_can_report(database: Database) -> None:
    """SELECT on the two tables is all a report needs."""
    seeded = _blog(database)
    user = f"r{abs(hash(database.name)) % 10**8}"
    url = sa.make_url(database.url).set(username=user, password="reader")
    if database.family == "postgresql":
        make = [f"CREATE ROLE {user} LOGIN PASSWORD 'reader'", f'GRANT SELECT ON post, "user" TO {user}']
        drop = [f"DROP OWNED BY {user}", f"DROP ROLE {user}"]
    else:
        make = [
            f"CREATE USER {user}@'%%' IDENTIFIED BY 'reader'",
            f"GRANT SELECT ON `{database.name}`.* TO {user}@'%%'",
        ]
        drop = [f"DROP USER {user}@'%%'"]
    with database.engine.begin() as connection:
        for statement in make:
            connection.exec_driver_sql(statement, ())
    try:
        ran = run(
            "report", "--url", url.render_as_string(hide_password=False), "-r", BLOG, "--format", "json"
        )
    finally:
        with database.engine.begin() as connection:
            for statement in drop:
                connection.exec_driver_sql(statement, ())
    assert ran.json["summary"]["orphans"] == seeded.null + seeded.dangling


@pytest.mark.engines("sqlite")
def test_a_database_file_that_may_not_be_written_to_is_reported_on(
    database: Database, tmp_path: Path
) -> None:
    """A read-only file in a read-only directory will do, and nothing appears beside it."""
    seeded = _blog(database)
    place = tmp_path / "archive"
    place.mkdir()
    copy = place / "50% of #1.db"
    shutil.copy(str(sa.make_url(database.url).database), copy)
    copy.chmod(0o444)
    place.chmod(0o555)
    try:
        ran = run("report", "--url", f"sqlite:///{copy}", "-r", BLOG, "--format", "json")
        assert os.listdir(place) == [copy.name]
    finally:
        place.chmod(0o755)
    assert ran.json["summary"]["orphans"] == seeded.null + seeded.dangling


@pytest.mark.engines("sqlite")
def test_a_database_in_wal_mode_is_left_alone_with_nothing_beside_it(
    database: Database, tmp_path: Path
) -> None:
    """A reader in WAL mode needs files beside the database; none are left there."""
    seeded = _blog(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    copy = tmp_path / "wal.db"
    shutil.copy(str(sa.make_url(database.url).database), copy)
    before = copy.read_bytes()
    ran = run("report", "--url", f"sqlite:///{copy}", "-r", BLOG, "--format", "json")
    assert ran.json["summary"]["orphans"] == seeded.null + seeded.dangling
    assert os.listdir(tmp_path) == [copy.name]
    assert copy.read_bytes() == before


def test_a_reports_session_cannot_write(database: Database) -> None:
    """Whatever a report might try by mistake, the database refuses it."""
    _blog(database)
    statement = sa.delete(models.Base.metadata.tables["post"])
    with (
        read_only_session(database.url, None) as session,
        pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.?only"),
    ):
        session.connection.execute(statement)
    assert run("report", "--url", database.url).code == 3


def test_estimate_says_that_it_estimates(database: Database) -> None:
    """--estimate gives intervals where the table is large enough, and counts where it is not."""
    _blog(database)
    ran = run("report", "--url", database.url, "-r", BLOG, "--estimate", "--format", "json")
    check_schema(ran.json)
    assert ran.json["references"][0]["estimate"] is None


def test_output_goes_to_a_file_whose_name_says_the_format(database: Database, tmp_path: Path) -> None:
    """`--output x.html` writes HTML, whole, and nothing to stdout."""
    _blog(database)
    target = tmp_path / "report.html"
    ran = run("report", "--url", database.url, "--output", str(target))
    assert ran.out == ""
    text = target.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert "http" not in text
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_the_password_is_nowhere(database: Database, tmp_path: Path) -> None:
    """No format shows the URL's password."""
    _blog(database)
    password = sa.make_url(database.url).password
    for form in ("text", "json", "html", "markdown", "csv"):
        ran = run("report", "--url", database.url, "--format", form)
        assert ":***" not in ran.out
        if password:
            assert f":{password}@" not in ran.out + ran.err


@pytest.mark.engines("sqlite")
def test_the_script_is_the_command(database: Database) -> None:
    """`python scripts/orphan_report.py` does the same from a checkout, from any directory."""
    _blog(database)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--url", database.url, "--format", "json"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert BLOG in done.stdout
