"""Changes of a schema on PostgreSQL, each with the statements that undo it."""

from __future__ import annotations

BASE = """
    CREATE TABLE users (id integer PRIMARY KEY, name text);
    CREATE TABLE post (id integer PRIMARY KEY, title varchar(30) DEFAULT 'x', user_id integer,
                       n integer NOT NULL);
    ALTER TABLE post ADD CONSTRAINT loose CHECK (n <> 3) NOT VALID;
    ALTER TABLE post ADD CONSTRAINT post_n_key UNIQUE (n);
    ALTER TABLE post ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id);
    CREATE INDEX post_title ON post (title);
    CREATE VIEW titles AS SELECT title FROM post;
    CREATE MATERIALIZED VIEW kept AS SELECT title FROM post;
    CREATE SEQUENCE numbers;
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TYPE pair AS (a integer, b text);
    CREATE DOMAIN short AS text;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE PROCEDURE tidy(x integer) LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer);
    CREATE TRIGGER stamped BEFORE UPDATE ON post FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE TABLE measure (day date NOT NULL, v integer) PARTITION BY RANGE (day);
    CREATE TABLE measure_24 PARTITION OF measure FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE measure_25 (day date NOT NULL, v integer);
    CREATE POLICY seen ON post FOR SELECT USING (n > 0);
    CREATE STATISTICS together ON title, n FROM post;
    CREATE PUBLICATION outward;
"""

CHANGES: dict[str, tuple[str, str]] = {
    "column": ("ALTER TABLE post ADD extra integer", "ALTER TABLE post DROP extra"),
    "column name": ("ALTER TABLE post RENAME title TO t", "ALTER TABLE post RENAME t TO title"),
    "length": ("ALTER TABLE users ALTER name TYPE varchar(9)", "ALTER TABLE users ALTER name TYPE text"),
    "type": ("ALTER TABLE post ALTER user_id TYPE bigint", "ALTER TABLE post ALTER user_id TYPE integer"),
    "collation": (
        'ALTER TABLE users ALTER name TYPE text COLLATE "C"',
        'ALTER TABLE users ALTER name TYPE text COLLATE "default"',
    ),
    "default": (
        "ALTER TABLE post ALTER title SET DEFAULT 'y'",
        "ALTER TABLE post ALTER title SET DEFAULT 'x'",
    ),
    "default gone": (
        "ALTER TABLE post ALTER title DROP DEFAULT",
        "ALTER TABLE post ALTER title SET DEFAULT 'x'",
    ),
    "not null": (
        "ALTER TABLE post ALTER user_id SET NOT NULL",
        "ALTER TABLE post ALTER user_id DROP NOT NULL",
    ),
    "identity": (
        "ALTER TABLE post ALTER n ADD GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE post ALTER n DROP IDENTITY",
    ),
    "generated": ("ALTER TABLE post ADD g int GENERATED ALWAYS AS (n + 1) STORED", "ALTER TABLE post DROP g"),
    "storage": (
        "ALTER TABLE users ALTER name SET STORAGE MAIN",
        "ALTER TABLE users ALTER name SET STORAGE EXTENDED",
    ),
    "target": ("ALTER TABLE post ALTER n SET STATISTICS 7", "ALTER TABLE post ALTER n SET STATISTICS -1"),
    "column option": (
        "ALTER TABLE post ALTER n SET (n_distinct = 5)",
        "ALTER TABLE post ALTER n RESET (n_distinct)",
    ),
    "column comment": ("COMMENT ON COLUMN post.n IS 'so'", "COMMENT ON COLUMN post.n IS NULL"),
    "table comment": ("COMMENT ON TABLE post IS 'so'", "COMMENT ON TABLE post IS NULL"),
    "key": (
        "ALTER TABLE measure_25 ADD PRIMARY KEY (day)",
        "ALTER TABLE measure_25 DROP CONSTRAINT measure_25_pkey",
    ),
    "unique": ("ALTER TABLE post ADD CONSTRAINT u UNIQUE (title)", "ALTER TABLE post DROP CONSTRAINT u"),
    "deferrable": (
        "ALTER TABLE post DROP CONSTRAINT post_n_key, ADD CONSTRAINT post_n_key UNIQUE (n) DEFERRABLE",
        "ALTER TABLE post DROP CONSTRAINT post_n_key, ADD CONSTRAINT post_n_key UNIQUE (n)",
    ),
    "check": ("ALTER TABLE post ADD CONSTRAINT c CHECK (n > 0)", "ALTER TABLE post DROP CONSTRAINT c"),
    "check validated": (
        "ALTER TABLE post VALIDATE CONSTRAINT loose",
        "ALTER TABLE post DROP CONSTRAINT loose, ADD CONSTRAINT loose CHECK (n <> 3) NOT VALID",
    ),
    "constraint comment": (
        "COMMENT ON CONSTRAINT loose ON post IS 'x'",
        "COMMENT ON CONSTRAINT loose ON post IS NULL",
    ),
    "constraint name": (
        "ALTER TABLE post RENAME CONSTRAINT loose TO tight",
        "ALTER TABLE post RENAME CONSTRAINT tight TO loose",
    ),
    "foreign key": (
        "ALTER TABLE post DROP CONSTRAINT post_user_fk",
        "ALTER TABLE post ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id)",
    ),
    "on delete": (
        "ALTER TABLE post DROP CONSTRAINT post_user_fk, "
        "ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE",
        "ALTER TABLE post DROP CONSTRAINT post_user_fk, "
        "ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id)",
    ),
    "match": (
        "ALTER TABLE post DROP CONSTRAINT post_user_fk, "
        "ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id) MATCH FULL",
        "ALTER TABLE post DROP CONSTRAINT post_user_fk, "
        "ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id)",
    ),
    "deferred": (
        "ALTER TABLE post ALTER CONSTRAINT post_user_fk DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE post ALTER CONSTRAINT post_user_fk NOT DEFERRABLE",
    ),
    "not valid": (
        "ALTER TABLE post DROP CONSTRAINT post_user_fk, "
        "ADD CONSTRAINT post_user_fk FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID",
        "ALTER TABLE post VALIDATE CONSTRAINT post_user_fk",
    ),
    "index": ("CREATE INDEX i ON post (user_id)", "DROP INDEX i"),
    "index direction": (
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title DESC)",
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title)",
    ),
    "operator class": (
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title varchar_pattern_ops)",
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title)",
    ),
    "predicate": (
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title) WHERE n > 0",
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title)",
    ),
    "expression": (
        "DROP INDEX post_title; CREATE INDEX post_title ON post (lower(title))",
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title)",
    ),
    "included column": (
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title) INCLUDE (n)",
        "DROP INDEX post_title; CREATE INDEX post_title ON post (title)",
    ),
    "invalid index": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'post_title'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'post_title'::regclass",
    ),
    "index option": (
        "ALTER INDEX post_title SET (fillfactor = 50)",
        "ALTER INDEX post_title RESET (fillfactor)",
    ),
    "index comment": ("COMMENT ON INDEX post_title IS 'x'", "COMMENT ON INDEX post_title IS NULL"),
    "clustered": ("ALTER TABLE post CLUSTER ON post_title", "ALTER TABLE post SET WITHOUT CLUSTER"),
    "trigger": (
        "CREATE TRIGGER t AFTER INSERT ON post FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION stamp()",
        "DROP TRIGGER t ON post",
    ),
    "trigger of ours": (
        "CREATE TRIGGER migrator_guard BEFORE INSERT ON post FOR EACH ROW EXECUTE FUNCTION stamp()",
        "DROP TRIGGER migrator_guard ON post",
    ),
    "trigger off": ("ALTER TABLE post DISABLE TRIGGER stamped", "ALTER TABLE post ENABLE TRIGGER stamped"),
    "all triggers off": ("ALTER TABLE users DISABLE TRIGGER ALL", "ALTER TABLE users ENABLE TRIGGER ALL"),
    "rule": ("CREATE RULE r AS ON DELETE TO post DO INSTEAD NOTHING", "DROP RULE r ON post"),
    "view": (
        "CREATE OR REPLACE VIEW titles AS SELECT title FROM post WHERE n > 0",
        "CREATE OR REPLACE VIEW titles AS SELECT title FROM post",
    ),
    "view option": (
        "ALTER VIEW titles SET (security_barrier = true)",
        "ALTER VIEW titles RESET (security_barrier)",
    ),
    "unfilled": ("REFRESH MATERIALIZED VIEW kept WITH NO DATA", "REFRESH MATERIALIZED VIEW kept"),
    "sequence": ("CREATE SEQUENCE more", "DROP SEQUENCE more"),
    "sequence step": ("ALTER SEQUENCE numbers INCREMENT 5", "ALTER SEQUENCE numbers INCREMENT 1"),
    "sequence owner": ("ALTER SEQUENCE numbers OWNED BY post.n", "ALTER SEQUENCE numbers OWNED BY NONE"),
    "function": ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION f()"),
    "function body": (
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    ),
    "function cost": ("ALTER FUNCTION stamp() COST 7", "ALTER FUNCTION stamp() COST 100"),
    "procedure": (
        "DROP PROCEDURE tidy(integer)",
        "CREATE PROCEDURE tidy(x integer) LANGUAGE sql AS 'SELECT 1'",
    ),
    "aggregate": (
        "DROP AGGREGATE total (integer)",
        "CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer)",
    ),
    "label": ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "ALTER TYPE mood RENAME VALUE 'blue' TO 'sad'"),
    "attribute": ("ALTER TYPE pair ADD ATTRIBUTE c date", "ALTER TYPE pair DROP ATTRIBUTE c"),
    "domain": (
        "ALTER DOMAIN short ADD CONSTRAINT s CHECK (length(VALUE) < 9)",
        "ALTER DOMAIN short DROP CONSTRAINT s",
    ),
    "domain default": ("ALTER DOMAIN short SET DEFAULT 'a'", "ALTER DOMAIN short DROP DEFAULT"),
    "range type": ("CREATE TYPE span AS RANGE (subtype = integer)", "DROP TYPE span"),
    "row security": (
        "ALTER TABLE post ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE post DISABLE ROW LEVEL SECURITY",
    ),
    "forced security": (
        "ALTER TABLE post FORCE ROW LEVEL SECURITY",
        "ALTER TABLE post NO FORCE ROW LEVEL SECURITY",
    ),
    "policy": ("ALTER POLICY seen ON post USING (n > 1)", "ALTER POLICY seen ON post USING (n > 0)"),
    "policy role": ("ALTER POLICY seen ON post TO pg_monitor", "ALTER POLICY seen ON post TO public"),
    "grant": ("GRANT SELECT ON post TO PUBLIC", "REVOKE SELECT ON post FROM PUBLIC"),
    "grant option": (
        "GRANT UPDATE ON post TO pg_monitor WITH GRANT OPTION",
        "REVOKE UPDATE ON post FROM pg_monitor",
    ),
    "column grant": ("GRANT SELECT (title) ON post TO PUBLIC", "REVOKE SELECT (title) ON post FROM PUBLIC"),
    "lost grant": ("REVOKE INSERT ON post FROM CURRENT_USER", "GRANT INSERT ON post TO CURRENT_USER"),
    "sequence grant": (
        "GRANT USAGE ON SEQUENCE numbers TO PUBLIC",
        "REVOKE USAGE ON SEQUENCE numbers FROM PUBLIC",
    ),
    "function grant": (
        "REVOKE EXECUTE ON FUNCTION stamp() FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION stamp() TO PUBLIC",
    ),
    "schema grant": (
        "GRANT CREATE ON SCHEMA public TO pg_monitor",
        "REVOKE CREATE ON SCHEMA public FROM pg_monitor",
    ),
    "owner": ("ALTER TABLE post OWNER TO pg_monitor", "ALTER TABLE post OWNER TO CURRENT_USER"),
    "replica identity": (
        "ALTER TABLE post REPLICA IDENTITY FULL",
        "ALTER TABLE post REPLICA IDENTITY DEFAULT",
    ),
    "identity index": (
        "ALTER TABLE post REPLICA IDENTITY USING INDEX post_n_key",
        "ALTER TABLE post REPLICA IDENTITY DEFAULT",
    ),
    "table option": ("ALTER TABLE post SET (fillfactor = 50)", "ALTER TABLE post RESET (fillfactor)"),
    "unlogged": ("ALTER TABLE measure_25 SET UNLOGGED", "ALTER TABLE measure_25 SET LOGGED"),
    "statistics": ("CREATE STATISTICS other ON title, user_id FROM post", "DROP STATISTICS other"),
    "statistics target": (
        "ALTER STATISTICS together SET STATISTICS 5",
        "ALTER STATISTICS together SET STATISTICS -1",
    ),
    "attached": (
        "ALTER TABLE measure ATTACH PARTITION measure_25 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "ALTER TABLE measure DETACH PARTITION measure_25",
    ),
    "publication": ("ALTER PUBLICATION outward ADD TABLE post", "ALTER PUBLICATION outward DROP TABLE post"),
    "schema": ("CREATE SCHEMA aside", "DROP SCHEMA aside"),
    "table elsewhere": (
        "CREATE SCHEMA aside; CREATE TABLE aside.post (id integer)",
        "DROP SCHEMA aside CASCADE",
    ),
    "moved": (
        "CREATE SCHEMA aside; ALTER TABLE post SET SCHEMA aside",
        "ALTER TABLE aside.post SET SCHEMA public; DROP SCHEMA aside",
    ),
    "extension": ("CREATE EXTENSION IF NOT EXISTS citext", "DROP EXTENSION citext"),
}

SINCE: dict[int, dict[str, tuple[str, str]]] = {
    14: {
        "compression": (
            "ALTER TABLE users ALTER name SET COMPRESSION pglz",
            "ALTER TABLE users ALTER name SET COMPRESSION default",
        )
    },
    15: {
        "nulls not distinct": (
            "ALTER TABLE post ADD CONSTRAINT d UNIQUE NULLS NOT DISTINCT (user_id)",
            "ALTER TABLE post DROP CONSTRAINT d",
        ),
        "published columns": (
            "ALTER PUBLICATION outward ADD TABLE post (id)",
            "ALTER PUBLICATION outward DROP TABLE post",
        ),
    },
    18: {
        "not null not valid": (
            "ALTER TABLE post ADD CONSTRAINT nn NOT NULL user_id NOT VALID",
            "ALTER TABLE post DROP CONSTRAINT nn",
        ),
        "name of a not null": (
            "ALTER TABLE post RENAME CONSTRAINT post_n_not_null TO other",
            "ALTER TABLE post RENAME CONSTRAINT other TO post_n_not_null",
        ),
        "not enforced": (
            "ALTER TABLE post ALTER CONSTRAINT post_user_fk NOT ENFORCED",
            "ALTER TABLE post ALTER CONSTRAINT post_user_fk ENFORCED",
        ),
        "virtual": (
            "ALTER TABLE post ADD g int GENERATED ALWAYS AS (n + 1) VIRTUAL",
            "ALTER TABLE post DROP g",
        ),
    },
}
