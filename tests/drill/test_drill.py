"""A drill says that before = after where it is so, on every engine, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.drill.html import to_html
from migrator.drill.markdown import to_markdown
from migrator.fingerprint import take
from tests.conftest import Database
from tests.drill.harness import RESTORE, SWEEP, blog, copies, environment, hold, orphan_keys
from tests.operations.reporting import check_schema, run


def test_the_blogs_revisions_lead_back_to_where_they_began(database: Database) -> None:
    """Up, down and up again over the shipped revisions, by command: exit 0, a valid JSON, no copy left,
    and the database itself untouched."""
    blog(database)
    before = take(database.engine)

    found = run("drill", "--url", database.url, "-x", "pause_ms=0", "--format", "json")

    assert found.code == 0, found.out
    check_schema(found.json)
    assert found.json["verdict"]["identical"] is True
    assert [act["status"] for act in found.json["acts"] if act["slug"] == "verify"] == ["passed"]
    (reference,) = found.json["references"]
    assert reference["set_aside"] == reference["brought_back"] == 6
    assert database.url.partition("@")[0].rpartition(":")[2] not in found.out or database.family == "sqlite"
    assert not copies(database)
    assert before.identical(take(database.engine), counters=True)


def test_everything_around_the_tables_comes_along(database: Database, tmp_path: Path) -> None:
    """A copy has the views, triggers, checks, generated columns, foreign keys and counters of its source, or
    the drill would not begin: its fingerprint is compared with the source's."""
    blog(database)
    quote = database.engine.dialect.identifier_preparer.quote
    statements = [
        "CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, "
        "words INTEGER CHECK (words > 0), twice INTEGER GENERATED ALWAYS AS (words * 2) STORED, "
        "CONSTRAINT fk_comment FOREIGN KEY (post_id) REFERENCES post (id))",
        "INSERT INTO comment (id, post_id, words) VALUES (1, 1, 5), (2, 3, 7)",
        f"CREATE VIEW named AS SELECT p.id, u.email FROM post p JOIN {quote('user')} u ON u.id = p.user_id",
        "CREATE VIEW a_view_of_a_view AS SELECT count(*) AS n FROM named",
    ]
    if database.family in ("mysql", "mariadb"):
        statements.append(
            "CREATE TRIGGER counted BEFORE INSERT ON comment FOR EACH ROW SET new.words = new.words + 1"
        )
        statements.append("CREATE FUNCTION unity() RETURNS INT DETERMINISTIC NO SQL RETURN 1")
        statements.append("CREATE VIEW by_function AS SELECT unity() AS o")
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)

    result = hold(database, ini=environment(tmp_path, (SWEEP, RESTORE)))

    assert result.exit_code == 0, result.verdict
    assert not result.place.kept
    assert not any("could not be compared" in note for act in result.acts for note in act.notes)


def test_the_second_upgrade_may_give_the_sentinel_another_number(database: Database, tmp_path: Path) -> None:
    """Where numbers are never given twice, the sentinel and its rows differ as they must, and the drill says
    so instead of calling it a difference."""
    blog(database)

    result = hold(database, ini=environment(tmp_path, (SWEEP, RESTORE)))

    again = result.act("again")
    assert result.exit_code == 0, result.verdict
    assert again is not None
    assert bool(again.expected) == (database.family != "sqlite")
    if again.expected:
        assert f"the {len(orphan_keys(database))} rows given to the sentinel" in " ".join(again.expected)


def test_deleted_orphans_come_back(database: Database, tmp_path: Path) -> None:
    """With the policy `delete` every row that the upgrade removed is there again after the downgrade."""
    blog(database)

    result = hold(
        database,
        ini=environment(tmp_path, (SWEEP, RESTORE)),
        arguments=("pause_ms=0", "on_null=delete", "on_dangling=delete"),
    )

    assert result.exit_code == 0, result.verdict
    assert [(one.deleted, one.brought_back) for one in result.references] == [(6, 6)]


@pytest.mark.engines("sqlite")
def test_the_page_and_the_markdown_begin_with_the_verdict(database: Database, tmp_path: Path) -> None:
    """One self-contained page; the first line is what matters."""
    blog(database)
    result = hold(database, ini=environment(tmp_path, (SWEEP, RESTORE)))

    page, text = to_html(result), to_markdown(result)
    assert "| step | took | lock | keeps waiting |" in text
    upgrade = result.act("upgrade")
    assert upgrade is not None
    for part in (part for step in upgrade.steps for part in step.parts):
        assert part.lock in page
        assert f"{part.name} | " in text

    assert text.startswith(f"# {result.verdict}")
    assert f"<title>{result.verdict}</title>" in page
    assert "src=" not in page
    assert "href=" not in page
    assert "[x] **Rollback rehearsed**" in text
