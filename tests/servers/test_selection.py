"""Which engines a test runs on follows from its mark, the given servers and the environment."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.servers.recipes import FamilyName
from tests.servers.selection import Selection

DEFAULT = ["sqlite", "postgresql-18", "postgresql-15", "mysql-9.7", "mariadb-11.8"]


def _selection(narrow: str | None = None, **given: list[str]) -> Selection:
    def ids(family: FamilyName) -> Sequence[str]:
        return given.get(family, ())

    return Selection(ids, narrow)


@pytest.mark.parametrize(
    ("names", "engines"),
    [
        ((), DEFAULT),
        (("postgresql",), ["postgresql-18", "postgresql-15"]),
        (("mysql-9.7", "sqlite"), ["mysql-9.7", "sqlite"]),
        (("postgresql", "postgresql-17"), ["postgresql-18", "postgresql-15", "postgresql-17"]),
        (("postgresql>=18",), ["postgresql-18"]),
        (("postgresql<18", "mariadb>=10.11"), ["postgresql-15", "mariadb-11.8"]),
    ],
)
def test_a_mark_names_families_bounds_and_engines(names: tuple[str, ...], engines: list[str]) -> None:
    """No mark means every default engine; an extra engine runs where it is named."""
    assert _selection().engines(names) == engines


def test_given_servers_take_the_place_of_their_family_s_defaults() -> None:
    """The versions that were given are the ones to test."""
    selection = _selection(mysql=["mysql-8.4"], postgresql=["postgresql-16", "postgresql-18"])
    assert selection.engines() == ["sqlite", "postgresql-16", "postgresql-18", "mysql-8.4", "mariadb-11.8"]
    assert selection.engines(["mysql-9.7"]) == ["mysql-8.4"]
    assert selection.engines(["postgresql-18"]) == ["postgresql-18"]
    assert selection.engines(["postgresql>=18"]) == ["postgresql-18"]


def test_given_extras_wait_until_they_are_named() -> None:
    """Giving an extra server beside a default one does not make every test run on it."""
    selection = _selection(postgresql=["postgresql-18", "postgresql-13"])
    assert selection.engines(["postgresql"]) == ["postgresql-18"]
    assert selection.engines(["postgresql-13"]) == ["postgresql-13"]
    assert _selection(postgresql=["postgresql-13"]).engines(["postgresql"]) == ["postgresql-13"]


@pytest.mark.parametrize(
    ("narrow", "names", "engines"),
    [
        ("sqlite, postgresql-18", (), ["sqlite", "postgresql-18"]),
        ("sqlite,postgresql-18", ("postgresql",), ["postgresql-18"]),
        ("sqlite", ("postgresql", "mysql-9.7"), []),
        ("postgresql", ("postgresql-17",), ["postgresql-17"]),
        ("postgresql-18", ("postgresql-17",), []),
        ("mysql-8.4", (), ["mysql-8.4"]),
        ("mysql-8.4", ("mysql",), ["mysql-8.4"]),
        ("mysql-8.4", ("mysql>=9",), []),
        ("postgresql-18,postgresql", ("postgresql-15",), ["postgresql-15"]),
        ("", (), DEFAULT),
    ],
)
def test_the_environment_narrows(narrow: str, names: tuple[str, ...], engines: list[str]) -> None:
    """Only what `MIGRATOR_TEST_ENGINES` names is run; it may name an extra engine too."""
    assert _selection(narrow).engines(names) == engines


def test_given_servers_can_be_narrowed() -> None:
    """The names of the environment are matched with the given servers as those of marks are."""
    given = {"mysql": ["mysql-8.4"], "postgresql": ["postgresql-18", "postgresql-16"]}
    assert _selection("mysql-9.7", **given).engines(["mysql-9.7"]) == ["mysql-8.4"]
    assert _selection("mysql-9.7", **given).engines() == ["mysql-8.4"]
    assert _selection("postgresql-16", **given).engines(["postgresql"]) == ["postgresql-16"]


def test_a_family_narrowed_away_is_not_asked_for_its_servers() -> None:
    """Its servers may not be there, and nobody wants them."""

    def ids(family: FamilyName) -> Sequence[str]:
        assert family in ("sqlite", "mysql")
        return ()

    assert Selection(ids, "sqlite,mysql").engines(["postgresql>=18", "sqlite"]) == ["sqlite"]


@pytest.mark.parametrize("name", ["oracle", "postgresql-", "postgresql>18", "mysql 9", "-"])
def test_a_misspelt_engine_is_an_error(name: str) -> None:
    """It would otherwise run nothing and look well."""
    with pytest.raises(ValueError, match="names no engine"):
        _selection().engines([name])
    with pytest.raises(ValueError, match="names no engine"):
        _selection(name).engines()
