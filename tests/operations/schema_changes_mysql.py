"""Changes of a schema on MySQL and MariaDB, each with the statements that undo it."""

from __future__ import annotations

BASE = """
    CREATE TABLE users (id integer PRIMARY KEY, name varchar(30));
    CREATE TABLE post (id integer PRIMARY KEY, title varchar(30) DEFAULT 'x', user_id integer,
        n integer NOT NULL, at timestamp NULL, CONSTRAINT high CHECK (n > 0),
        KEY post_title (title), KEY post_user (user_id),
        CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id));
    CREATE VIEW titles AS SELECT title FROM post;
    CREATE TRIGGER stamped BEFORE UPDATE ON post FOR EACH ROW SET NEW.at = now();
    CREATE TABLE measure (day date NOT NULL, v integer);
    CREATE PROCEDURE tidy(x integer) SELECT 1
"""

FOREIGN_KEY = "ALTER TABLE post ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id)"
NO_FOREIGN_KEY = "ALTER TABLE post DROP FOREIGN KEY post_user_fk"

CHANGES: dict[str, tuple[str, str]] = {
    "column": ("ALTER TABLE post ADD extra integer", "ALTER TABLE post DROP extra"),
    "column order": (
        "ALTER TABLE post MODIFY at timestamp NULL FIRST",
        "ALTER TABLE post MODIFY at timestamp NULL AFTER n",
    ),
    "column name": ("ALTER TABLE measure RENAME COLUMN v TO w", "ALTER TABLE measure RENAME COLUMN w TO v"),
    "length": ("ALTER TABLE users MODIFY name varchar(31)", "ALTER TABLE users MODIFY name varchar(30)"),
    "sign": ("ALTER TABLE measure MODIFY v integer unsigned", "ALTER TABLE measure MODIFY v integer"),
    "precision": (
        "ALTER TABLE post MODIFY at timestamp(3) NULL",
        "ALTER TABLE post MODIFY at timestamp NULL",
    ),
    "charset": (
        "ALTER TABLE users MODIFY name varchar(30) CHARACTER SET latin1",
        "ALTER TABLE users MODIFY name varchar(30)",
    ),
    "collation": (
        "ALTER TABLE users MODIFY name varchar(30) COLLATE utf8mb4_bin",
        "ALTER TABLE users MODIFY name varchar(30)",
    ),
    "default": (
        "ALTER TABLE post ALTER title SET DEFAULT 'y'",
        "ALTER TABLE post ALTER title SET DEFAULT 'x'",
    ),
    "empty default": (
        "ALTER TABLE users ALTER name SET DEFAULT ''",
        "ALTER TABLE users MODIFY name varchar(30)",
    ),
    "not null": (
        "ALTER TABLE measure MODIFY v integer NOT NULL",
        "ALTER TABLE measure MODIFY v integer NULL",
    ),
    "on update": (
        "ALTER TABLE post MODIFY at timestamp NULL ON UPDATE CURRENT_TIMESTAMP",
        "ALTER TABLE post MODIFY at timestamp NULL",
    ),
    "auto increment": (
        "SET foreign_key_checks = 0; ALTER TABLE post MODIFY id integer AUTO_INCREMENT",
        "ALTER TABLE post MODIFY id integer",
    ),
    "column comment": (
        "ALTER TABLE measure MODIFY v integer COMMENT 'so'",
        "ALTER TABLE measure MODIFY v integer",
    ),
    "invisible": ("ALTER TABLE measure MODIFY v integer INVISIBLE", "ALTER TABLE measure MODIFY v integer"),
    "generated": ("ALTER TABLE post ADD g integer AS (n + 1) VIRTUAL", "ALTER TABLE post DROP g"),
    "stored": ("ALTER TABLE post ADD g integer AS (n + 1) STORED", "ALTER TABLE post DROP g"),
    "key": ("ALTER TABLE measure ADD PRIMARY KEY (day)", "ALTER TABLE measure DROP PRIMARY KEY"),
    "unique": ("ALTER TABLE post ADD CONSTRAINT u UNIQUE (n)", "ALTER TABLE post DROP INDEX u"),
    "index": ("CREATE INDEX i ON post (n)", "DROP INDEX i ON post"),
    "index direction": (
        "ALTER TABLE post DROP INDEX post_title, ADD INDEX post_title (title DESC)",
        "ALTER TABLE post DROP INDEX post_title, ADD INDEX post_title (title)",
    ),
    "prefix": (
        "ALTER TABLE post DROP INDEX post_title, ADD INDEX post_title (title(5))",
        "ALTER TABLE post DROP INDEX post_title, ADD INDEX post_title (title)",
    ),
    "full text": (
        "ALTER TABLE post DROP INDEX post_title, ADD FULLTEXT INDEX post_title (title)",
        "ALTER TABLE post DROP INDEX post_title, ADD INDEX post_title (title)",
    ),
    "check": ("ALTER TABLE post ADD CONSTRAINT c CHECK (n > 1)", "ALTER TABLE post DROP CONSTRAINT c"),
    "check gone": (
        "ALTER TABLE post DROP CONSTRAINT high",
        "ALTER TABLE post ADD CONSTRAINT high CHECK (n > 0)",
    ),
    "foreign key": (NO_FOREIGN_KEY, FOREIGN_KEY),
    "on delete": (f"{NO_FOREIGN_KEY}; {FOREIGN_KEY} ON DELETE CASCADE", f"{NO_FOREIGN_KEY}; {FOREIGN_KEY}"),
    "on update of a key": (
        f"{NO_FOREIGN_KEY}; {FOREIGN_KEY} ON UPDATE SET NULL",
        f"{NO_FOREIGN_KEY}; {FOREIGN_KEY}",
    ),
    "trigger": (
        "CREATE TRIGGER t BEFORE INSERT ON post FOR EACH ROW SET NEW.n = 1",
        "DROP TRIGGER t",
    ),
    "trigger of ours": (
        "CREATE TRIGGER migrator_guard BEFORE INSERT ON post FOR EACH ROW SET NEW.n = 1",
        "DROP TRIGGER migrator_guard",
    ),
    "trigger body": (
        "DROP TRIGGER stamped; CREATE TRIGGER stamped BEFORE UPDATE ON post FOR EACH ROW SET NEW.at = NULL",
        "DROP TRIGGER stamped; CREATE TRIGGER stamped BEFORE UPDATE ON post FOR EACH ROW SET NEW.at = now()",
    ),
    "view": (
        "CREATE OR REPLACE VIEW titles AS SELECT title FROM post WHERE n > 0",
        "CREATE OR REPLACE VIEW titles AS SELECT title FROM post",
    ),
    "view security": (
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW titles AS SELECT title FROM post",
        "CREATE OR REPLACE SQL SECURITY DEFINER VIEW titles AS SELECT title FROM post",
    ),
    "engine": ("ALTER TABLE measure ENGINE = MyISAM", "ALTER TABLE measure ENGINE = InnoDB"),
    "row format": ("ALTER TABLE measure ROW_FORMAT = COMPACT", "ALTER TABLE measure ROW_FORMAT = DEFAULT"),
    "table comment": ("ALTER TABLE measure COMMENT 'so'", "ALTER TABLE measure COMMENT ''"),
    "partitions": (
        "ALTER TABLE measure PARTITION BY HASH (to_days(day)) PARTITIONS 2",
        "ALTER TABLE measure REMOVE PARTITIONING",
    ),
    "procedure": ("DROP PROCEDURE tidy", "CREATE PROCEDURE tidy(x integer) SELECT 1"),
    "procedure body": (
        "DROP PROCEDURE tidy; CREATE PROCEDURE tidy(x integer) SELECT 2",
        "DROP PROCEDURE tidy; CREATE PROCEDURE tidy(x integer) SELECT 1",
    ),
    "parameter": (
        "DROP PROCEDURE tidy; CREATE PROCEDURE tidy(x bigint) SELECT 1",
        "DROP PROCEDURE tidy; CREATE PROCEDURE tidy(x integer) SELECT 1",
    ),
    "function": ("CREATE FUNCTION f() RETURNS integer DETERMINISTIC RETURN 1", "DROP FUNCTION f"),
    "event": ("CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DISABLE DO SELECT 1", "DROP EVENT e"),
}

MYSQL_ONLY: dict[str, tuple[str, str]] = {
    "expression": ("CREATE INDEX i ON post ((n + 1))", "DROP INDEX i ON post"),
    "invisible index": (
        "ALTER TABLE post ALTER INDEX post_title INVISIBLE",
        "ALTER TABLE post ALTER INDEX post_title VISIBLE",
    ),
    "check not enforced": (
        "ALTER TABLE post ALTER CHECK high NOT ENFORCED",
        "ALTER TABLE post ALTER CHECK high ENFORCED",
    ),
}

MARIADB_ONLY: dict[str, tuple[str, str]] = {
    "ignored index": (
        "ALTER TABLE post ALTER INDEX post_title IGNORED",
        "ALTER TABLE post ALTER INDEX post_title NOT IGNORED",
    ),
    "sequence": ("CREATE SEQUENCE numbers", "DROP SEQUENCE numbers"),
    "column check": (
        "ALTER TABLE measure MODIFY v integer CHECK (v > 0)",
        "ALTER TABLE measure MODIFY v integer",
    ),
    "versioned": ("ALTER TABLE measure ADD SYSTEM VERSIONING", "ALTER TABLE measure DROP SYSTEM VERSIONING"),
}
