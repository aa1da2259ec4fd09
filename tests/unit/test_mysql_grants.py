"""Privileges read from SHOW GRANTS."""

from __future__ import annotations

from migrator.dialects.mysql_grants import parse

LINES = (
    "GRANT USAGE ON *.* TO `app`@`%`",
    "GRANT PROCESS, RELOAD ON *.* TO `app`@`%`",
    "GRANT SELECT, INSERT (`id`, `a, b`), UPDATE ON `shop\\_%`.* TO `app`@`%`",
    "GRANT ALL PRIVILEGES ON `blog`.* TO `app`@`%` WITH GRANT OPTION",
    "GRANT REFERENCES, LOCK TABLES ON `x`.`us``er` TO `app`@`%`",
    "GRANT `reader`@`%` TO `app`@`%`",
    "GRANT PROXY ON ''@'%' TO `app`@`%`",
    "REVOKE UPDATE ON `shop_two`.* FROM `app`@`%`",
)
GRANTS = parse(LINES)


def test_all_privileges_of_a_database_hold_on_its_tables() -> None:
    """ALL PRIVILEGES is every one of them."""
    assert GRANTS.allow("ALTER", "blog", "post")
    assert GRANTS.allow("CREATE", "blog")
    assert not GRANTS.allow("ALTER", "blogs", "post")


def test_a_database_pattern_is_like_s() -> None:
    """An escaped underscore is itself, a percent sign is anything."""
    assert GRANTS.allow("SELECT", "shop_one", "t")
    assert not GRANTS.allow("SELECT", "shopxone", "t")


def test_a_privilege_on_columns_counts_as_none() -> None:
    """Every statement of ours is about whole rows."""
    assert not GRANTS.allow("INSERT", "shop_one", "t")
    assert GRANTS.allow("UPDATE", "shop_one", "t")


def test_a_partial_revoke_takes_away() -> None:
    """MySQL can except one database from a wider grant."""
    assert not GRANTS.allow("UPDATE", "shop_two", "t")


def test_a_table_grant_holds_on_that_table_alone() -> None:
    """Its name may hold a backtick."""
    assert GRANTS.allow("LOCK TABLES", "x", "us`er")
    assert not GRANTS.allow("LOCK TABLES", "x", "post")
    assert not GRANTS.allow("REFERENCES", "x")


def test_server_wide_privileges_are_told_apart() -> None:
    """Only a grant on *.* is one."""
    assert GRANTS.everywhere("PROCESS")
    assert not GRANTS.everywhere("SUPER", "ALTER")
