"""Given servers are named by URLs as people write them."""

from __future__ import annotations

import pytest

from tests.servers.recipes import FamilyName
from tests.servers.urls import given_urls, with_password


@pytest.mark.parametrize(
    ("family", "written", "read"),
    [
        ("postgresql", "postgres://u:p@h/d", ["postgresql+psycopg://u:p@h/d"]),
        ("postgresql", "postgresql://u@h:5433/d", ["postgresql+psycopg://u@h:5433/d"]),
        ("postgresql", "postgresql+psycopg://u@h/d", ["postgresql+psycopg://u@h/d"]),
        ("mysql", "mysql://u:p%40ss@h", ["mysql+pymysql://u:p%40ss@h"]),
        ("mariadb", "mariadb://u@h/d", ["mysql+pymysql://u@h/d"]),
        (
            "postgresql",
            " postgres://a/b\n\tpostgres://c/d ",
            ["postgresql+psycopg://a/b", "postgresql+psycopg://c/d"],
        ),
        ("mysql", "", []),
        ("sqlite", "never read", []),
    ],
)
def test_plain_urls_get_their_drivers(family: FamilyName, written: str, read: list[str]) -> None:
    """Several may be given, parted by white space."""
    environ = {f"MIGRATOR_TEST_{family.upper()}_URL": written}
    assert [with_password(url) for url in given_urls(family, environ)] == read


def test_what_is_no_url_is_an_error_without_a_password() -> None:
    """The variable is named; its contents are not repeated."""
    with pytest.raises(ValueError, match="MIGRATOR_TEST_MYSQL_URL") as caught:
        given_urls("mysql", {"MIGRATOR_TEST_MYSQL_URL": "root:secret@host"})
    assert "secret" not in str(caught.value)
