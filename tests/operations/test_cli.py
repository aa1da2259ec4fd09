"""The command line: verbs, help, exit codes, settings, plan and discover."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from migrator.blog import models
from migrator.blog.seed import seed
from migrator.cli import VERBS, main
from migrator.cli import report as report_module
from tests.operations.orphan_cases import composite, itself, simple
from tests.operations.reporting import check_schema, run

if TYPE_CHECKING:
    from tests.conftest import Database

BLOG = "post.user_id -> user.id"
_CONTEXT = click.Context(main)
OFFERED = main.list_commands(_CONTEXT)


def _blog(database: Database, posts: int = 40) -> None:
    with database.engine.begin() as connection:
        seed(connection, posts=posts, users=10, null_share=0.1, dangling_share=0.1)


# -- the command itself ------------------------------------------------------------------------------


def test_help_lists_the_verbs_and_the_exit_codes() -> None:
    """`migrator --help` says what there is and what the exit codes mean."""
    ran = run("--help")
    assert ran.code == 0
    assert {"report", "discover", "plan", "verify"} <= set(OFFERED) <= set(VERBS)
    for verb in OFFERED:
        assert f"  {verb} " in ran.out
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "):
        assert f"    {code}" in ran.out


@pytest.mark.parametrize("verb", ["report", "discover", "plan", "verify"])
def test_each_verb_has_help_with_its_exit_codes(verb: str) -> None:
    """Every option of a verb has a help text."""
    ran = run(verb, "--help")
    assert ran.code == 0
    assert "Exit codes:" in ran.out
    command = main.get_command(_CONTEXT, verb)
    assert command is not None
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help and one.name != "on_dangling"] == []


def test_an_unknown_verb_or_option_is_a_usage_error() -> None:
    """Words that make no sense exit with 2."""
    assert run("repord").code == 2
    assert run("report", "--nonsense").code == 2
    assert run("report", "--format", "pdf").code == 2


def test_help_imports_no_driver() -> None:
    """`migrator --help` answers at once: neither drivers nor report formats are loaded."""
    code = (
        "import sys; from migrator.cli import main; main(['--help'], standalone_mode=False); "
        "print([m for m in ('psycopg', 'pymysql', 'jinja2', 'migrator.report') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyboardInterrupt anywhere in a command is told in one word and exits with 130."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report_module, "read_only_session", interrupted)
    ran = run("report", "--url", "sqlite://")
    assert (ran.code, ran.err.strip()) == (130, "Stopped.")


@pytest.mark.engines("postgresql")
def test_ctrl_c_stops_a_count_on_the_server(database: Database) -> None:
    """SIGINT in the middle of a count ends the command with 130, and the server's work as well."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parent (id int PRIMARY KEY)")
        connection.exec_driver_sql(
            "CREATE VIEW child AS SELECT id, id AS parent FROM (SELECT 1 AS id, pg_sleep(60)) AS slow"
        )
    command = [sys.executable, "-m", "migrator", "report", "--url", database.url]
    command += ["-r", "child.parent -> parent.id"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heeds_ctrl_c,
    ) as process:
        _wait_for(database, "child", 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
    _wait_for(database, "child", 0)


def _heeds_ctrl_c() -> None:
    """A shell without job control has what it starts in the background ignore SIGINT, and its children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait_for(database: Database, words: str, sessions: int) -> None:
    query = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migrator' "
        "AND datname = current_database() AND state = 'active' AND query LIKE '%' || :words || '%'"
    )
    for _ in range(200):
        with database.engine.connect() as connection:
            if connection.execute(query, {"words": words}).scalar_one() == sessions:
                return
        time.sleep(0.05)
    pytest.fail(f"no {sessions} session(s) of ours")


@pytest.mark.engines("sqlite")
def test_debug_shows_the_traceback(database: Database) -> None:
    """MIGRATOR_DEBUG lets the error through as it is."""
    result = CliRunner().invoke(
        main, ["report", "--url", database.url, "-r", "nonsense"], env={"MIGRATOR_DEBUG": "1"}
    )
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


# -- where the URL comes from --------------------------------------------------------------------------


@pytest.mark.engines("sqlite")
def test_the_url_is_flag_then_environment_then_alembic_ini(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url beats MIGRATOR_URL beats DATABASE_URL beats sqlalchemy.url."""
    _blog(database)
    monkeypatch.chdir(tmp_path)
    wrong = "sqlite:////nowhere/at/all.db"
    assert run("report", "--url", database.url, MIGRATOR_URL=wrong).code == 3
    assert run("report", MIGRATOR_URL=database.url, DATABASE_URL=wrong).code == 3
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nsqlalchemy.url = {wrong}\n")
    assert run("report", DATABASE_URL=database.url).code == 3
    assert run("report").code == 1
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nsqlalchemy.url = {database.url}\n")
    assert run("report").code == 3
    (tmp_path / "other.ini").write_text("[alembic]\nsqlalchemy.url = sqlite:///%(here)s/100%%.db\n")
    ran = run("report", "--config", "other.ini")
    assert ran.code == 1
    assert f"{tmp_path}/100%.db" in ran.err


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_percent_sign_in_the_password_of_alembic_ini_does_no_harm(
    database: Database, tmp_path: Path
) -> None:
    """A password with % in it reaches the server as it is: what it refuses is the password."""
    url = sa.make_url(database.url).set(password="50%off").render_as_string(hide_password=False)
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nsqlalchemy.url = {url}\n")
    ran = run("report", "--config", str(ini))
    assert ran.code == 1
    assert "Check user and password" in ran.err
    assert "off" not in ran.err


# -- colours -------------------------------------------------------------------------------------------


@pytest.mark.engines("sqlite")
def test_colours_are_for_terminals_and_for_those_who_ask(database: Database) -> None:
    """No escape codes in a pipe; --color always and FORCE_COLOR bring them, NO_COLOR takes them."""
    _blog(database)
    arguments = ("report", "--url", database.url)
    assert "\x1b[" not in run(*arguments).out
    assert "\x1b[" in run(*arguments, "--color", "always").out
    assert "\x1b[3" in run(*arguments, FORCE_COLOR="1").out
    assert "\x1b[3" not in run(*arguments, "--color", "always", NO_COLOR="1").out
    assert "\x1b[3" not in run(*arguments, "--color", "never", FORCE_COLOR="1").out


@pytest.mark.engines("sqlite")
def test_text_in_a_pipe_has_no_blanks_at_line_ends(database: Database) -> None:
    """Statements stay on one line, and no line is padded."""
    _blog(database)
    lines = run("report", "--url", database.url).out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(line.strip().startswith("rows  SELECT") and line.endswith(";") for line in lines)


# -- plan ----------------------------------------------------------------------------------------------


def test_the_plan_shows_the_steps_with_their_locks(database: Database) -> None:
    """Every step of sweep, enforce and validate with SQL, lock and rows expected; nothing is changed."""
    _blog(database)
    ran = run("plan", "--url", database.url, "-r", BLOG, "--format", "json")
    assert ran.code == 0, ran
    check_schema(ran.json)
    (planned,) = ran.json["references"]
    assert [one["operation"] for one in planned["operations"]] == ["sweep", "enforce", "validate"]
    steps = {step["name"]: step for one in planned["operations"] for step in one["steps"]}
    assert steps["sweep"]["rows"] == planned["orphans"] == 8
    assert steps["sweep"]["on_dangling"]["policy"] == "backfill"
    statements = [sql for step in steps.values() for sql in step.get("sql", ())]
    assert any("FOREIGN KEY" in sql for sql in statements)
    assert all(step["lock"] and step["blocks"] for step in steps.values())
    with database.engine.connect() as connection:
        assert not sa.inspect(connection).get_foreign_keys("post")


def test_the_plan_in_words(database: Database) -> None:
    """The text names each step, and the policies that were asked for."""
    _blog(database)
    ran = run("plan", "--url", database.url, "-r", BLOG, "--on-dangling", "delete", "--no-count")
    assert ran.code == 0
    assert "dangling: delete" in ran.out
    for word in ("sweep", "enforce", "validate", "lock", "blocks", "sql"):
        assert word in ran.out


def test_a_plan_that_would_be_refused_exits_with_4(database: Database) -> None:
    """A parent key that is not unique is named, with the exit code of a refusal."""
    _blog(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE tag (id INTEGER PRIMARY KEY, post INTEGER)"))
    ran = run("plan", "--url", database.url, "-r", "post.user_id -> tag.post", "--no-count")
    assert ran.code == 4, ran
    assert "unique" in ran.out


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("reference", ["v.id -> user.id", "post.user_id -> v.id"])
def test_a_view_is_no_table_to_plan_for(database: Database, reference: str, form: str) -> None:
    """On either side: the problem is told, and there are no steps and no counts."""
    _blog(database)
    user = database.engine.dialect.identifier_preparer.quote("user")
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE VIEW v AS SELECT id FROM {user}"))
    ran = run("plan", "--url", database.url, "-r", reference, "--format", form)
    assert ran.code == 4, ran
    assert "is a view" in ran.out
    if form == "json":
        check_schema(ran.json)


@pytest.mark.engines("postgresql", "mysql", "mariadb")
def test_a_plan_between_types_that_differ_names_both(database: Database) -> None:
    """What the server will not compare is not counted: the problem says which columns, and what mends it."""
    _blog(database)
    ran = run("plan", "--url", database.url, "-r", "post.title -> user.id", "--format", "json")
    check_schema(ran.json)
    assert ran.code == 4, ran
    problems = ran.json["references"][0]["problems"]
    assert [one["slug"] for one in problems] == ["type-mismatch"]
    assert "post.title" in problems[0]["message"]


# -- discover ------------------------------------------------------------------------------------------


def test_discover_finds_what_looks_like_a_reference(database: Database) -> None:
    """user_id, a self-reference and a composite key are found with the share of values that match."""
    one, two, three = simple(database.engine), itself(database.engine), composite(database.engine)
    ran = run("discover", "--url", database.url, "--format", "json", "--min-share", "0")
    assert ran.code == 3
    check_schema(ran.json)
    found = {one["reference"]: one for one in ran.json["candidates"]}
    assert {str(one.reference), str(two.reference)} <= set(found)
    counts = one.counts()
    share = counts.valid / (counts.valid + counts.dangling)
    assert found[str(one.reference)]["matching_share"] == pytest.approx(share)
    # land and region are not named like region's own key (country, code): no name says it.
    assert str(three.reference) not in found
    assert run("discover", "--url", database.url, "--min-share", "1").code == 0


def test_discover_leaves_declared_foreign_keys_alone(database: Database) -> None:
    """Where the foreign key is declared there is nothing to find."""
    models.Base.metadata.create_all(database.engine)
    ran = run("discover", "--url", database.url)
    assert ran.code == 0
    assert "No column looks like a reference" in ran.out


@pytest.mark.engines("postgresql")
@pytest.mark.parametrize("verb", ["discover", "report", "verify"])
def test_columns_of_types_that_sqlalchemy_does_not_know_pass_in_silence(
    database: Database, verb: str
) -> None:
    """xml, point and the like are no reason for a warning (which is an error here)."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE p (id int PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, x xml, y point)")
    ran = run(verb, "--url", database.url)
    assert ran.code in (0, 3), ran
    assert "Did not recognize" not in ran.err


@pytest.mark.engines("sqlite")
def test_a_reader_that_goes_away_is_no_error(database: Database) -> None:
    """`migrator report | head -1` prints no traceback."""
    _blog(database, posts=20_000)
    command = f"{sys.executable} -m migrator report --url '{database.url}' --format csv | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("reference,kind")
    assert "Traceback" not in done.stderr
