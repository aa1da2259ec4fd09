"""Column clauses read from SHOW CREATE TABLE, in both servers' spelling."""

from __future__ import annotations

import pytest

from migrator.dialects.mysql_definition import actions_of, columns_of, literal, quote, with_nullness
from migrator.dialects.mysql_watchdog import Patience

TABLE = """CREATE TABLE `po``st, x` (
  `id` int NOT NULL AUTO_INCREMENT,
  {clause},
  KEY `k` (`id`),
  CONSTRAINT `c` CHECK ((`id` > 0))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='a, `b` int NOT NULL'
/*!50100 PARTITION BY HASH (`id`) */"""

CLAUSES = [
    ("`c` int DEFAULT NULL", "int", None, True),
    ("`c` int NOT NULL", "int", None, False),
    ("`c` int unsigned DEFAULT '7' COMMENT 'it''s, NOT NULL'",
     "int unsigned DEFAULT '7' COMMENT 'it''s, NOT NULL'", "'7'", False),
    ("`c` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
     "timestamp DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP", False),
    ("`c` timestamp(6) NULL DEFAULT NULL", "timestamp(6)", None, True),
    ("`c` varchar(9) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'a\\'b' /*!80023 INVISIBLE */",
     "varchar(9) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'a\\'b' /*!80023 INVISIBLE */",
     "'a\\'b'", False),
    ("`c` varchar(36) DEFAULT (uuid()) COMMENT 'x'", "varchar(36) DEFAULT (uuid()) COMMENT 'x'",
     "(uuid())", False),
    ("`c` int GENERATED ALWAYS AS ((case when (`id` is not null) then 1 end)) STORED NOT NULL",
     "int GENERATED ALWAYS AS ((case when (`id` is not null) then 1 end)) STORED", None, False),
    ("`c` enum('NOT NULL','a,b') NOT NULL", "enum('NOT NULL','a,b')", None, False),
    ("`c` point NOT NULL /*!80003 SRID 4326 */", "point /*!80003 SRID 4326 */", None, False),
    ("`c` datetime DEFAULT current_timestamp() ON UPDATE current_timestamp()",
     "datetime DEFAULT current_timestamp() ON UPDATE current_timestamp()", "current_timestamp()", False),
    ("`c` int(11) DEFAULT (1 + 2) CHECK (`c` is not null or 1 = 1)",
     "int(11) DEFAULT (1 + 2) CHECK (`c` is not null or 1 = 1)", "(1 + 2)", False),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "definition", "default", "default_null"), CLAUSES)
def test_a_clause_is_read_whole(
    clause: str, definition: str, default: str | None, default_null: bool
) -> None:
    """All but name, nullness and DEFAULT NULL is kept word for word."""
    found = columns_of(TABLE.format(clause=clause))
    assert list(found) == ["id", "c"]
    assert found["id"].definition == "int AUTO_INCREMENT"
    column = found["c"]
    assert (column.definition, column.default, column.default_null) == (definition, default, default_null)


def test_a_name_with_every_odd_character_is_read() -> None:
    """Backticks, blanks, commas, percent signs and parentheses in a name are part of it."""
    found = columns_of(TABLE.format(clause="`a``b, (c) 100%` int NOT NULL"))
    assert list(found) == ["id", "a`b, (c) 100%"]


def test_not_null_stands_before_a_columns_check() -> None:
    """MariaDB wants a column's CHECK last of all."""
    assert with_nullness("int(11) CHECK (`c` > 0)", "NOT NULL") == "int(11) NOT NULL CHECK (`c` > 0)"
    assert with_nullness("int COMMENT 'CHECK'", "NULL") == "int COMMENT 'CHECK' NULL"


def test_names_and_literals_are_quoted_for_every_sql_mode() -> None:
    """A backslash means itself with and without NO_BACKSLASH_ESCAPES only where it is not written."""
    assert quote("a`b") == "`a``b`"
    assert literal("it's") == "'it''s'"
    assert literal("a\\b") == "_utf8mb4 0x615c62"


def test_the_actions_of_keys_are_read_from_the_tables_text() -> None:
    """As MariaDB writes it: RESTRICT is left out; a comment that looks like a key is none."""
    text = """CREATE TABLE `post` (
  `id` int(11) NOT NULL COMMENT 'CONSTRAINT `no` FOREIGN KEY (`id`) REFERENCES `u` (`id`) ON DELETE CASCADE',
  `ON DELETE CASCADE` int(11) DEFAULT NULL,
  KEY `a` (`id`),
  CONSTRAINT `f``k` FOREIGN KEY (`id`, `x`) REFERENCES `d`.`u` (`a`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `plain` FOREIGN KEY (`ON DELETE CASCADE`) REFERENCES `u` (`id`),
  CONSTRAINT `none` FOREIGN KEY (`id`) REFERENCES `u` (`id`) ON DELETE NO ACTION,
  CONSTRAINT `c` CHECK (`id` > 0)
) ENGINE=InnoDB"""
    assert actions_of(text) == {
        "f`k": ("CASCADE", "SET NULL"),
        "plain": ("RESTRICT", "RESTRICT"),
        "none": ("NO ACTION", "RESTRICT"),
    }


def test_the_last_wait_of_a_rebuild_grows_with_its_work() -> None:
    """Never less than the first, never more than the long lock timeout."""
    patience = Patience(0.4, 5.0, 0.05)
    assert [patience.after(worked) for worked in (1, 20, 3600)] == [0.4, 1.0, 5.0]
    assert Patience(0.4).after(3600) == 0.4
