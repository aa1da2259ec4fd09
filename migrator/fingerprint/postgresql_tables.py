"""What PostgreSQL's catalog says about tables and views, as queries that return `Fact`s.

Left out because a faithful round trip may change it: OIDs, physical column numbers, statistics, missing-value
shortcuts of ADD COLUMN. Privileges are written out with the defaults filled in, since a GRANT followed by
its REVOKE leaves an explicit list that means the same as none. `to_jsonb(row) ->> 'column'` reads a catalog
column that older versions lack.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

# Relations of the chosen schemas that belong to no extension, with the word for their kind.
RELATION: Final = """
    (SELECT c.*, n.nspname,
            CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                           WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY (:schemas) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = CAST('pg_class' AS regclass)
                       AND d.objid = c.oid AND d.deptype = 'e')) AS r
"""

RELATIONS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname, fact.line
    FROM {RELATION},
         LATERAL (VALUES
            (1, 'owner ' || quote_ident(pg_get_userbyid(r.relowner))),
            (2, 'persistence ' || CASE r.relpersistence WHEN 'p' THEN 'permanent' WHEN 'u' THEN 'unlogged'
                                                        ELSE 'temporary' END),
            (3, 'access method ' || (SELECT amname FROM pg_am WHERE oid = r.relam)),
            (4, 'tablespace ' || (SELECT spcname FROM pg_tablespace WHERE oid = r.reltablespace)),
            (5, 'options ' || (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(r.reloptions) AS o)),
            (6, 'toast options ' || (SELECT string_agg(o, ', ' ORDER BY o)
                                     FROM pg_class t, unnest(t.reloptions) AS o
                                     WHERE t.oid = r.reltoastrelid)),
            (7, 'of type ' || CASE WHEN r.reloftype <> 0 THEN format_type(r.reloftype, NULL) END),
            (8, 'partitioned by ' || pg_get_partkeydef(r.oid)),
            (9, 'partition bound ' || pg_get_expr(r.relpartbound, r.oid)),
            (10, 'row security ' || CASE WHEN r.relrowsecurity THEN 'enabled' ELSE 'disabled' END
                 || CASE WHEN r.relforcerowsecurity THEN ', forced' ELSE '' END),
            (11, 'replica identity ' || CASE r.relreplident WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing'
                                             WHEN 'f' THEN 'full' ELSE 'index' END),
            (12, 'populated ' || CASE WHEN r.relkind = 'm' THEN CAST(r.relispopulated AS text) END),
            (13, 'foreign ' || (SELECT s.srvname || coalesce(' ' || CAST(f.ftoptions AS text), '')
                                FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
                                WHERE f.ftrelid = r.oid)),
            (14, 'comment ' || quote_literal(obj_description(r.oid, 'pg_class'))),
            (15, 'as ' || CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END)
         ) AS fact (place, line)
    WHERE fact.line IS NOT NULL ORDER BY r.nspname, r.relname, fact.place
""")

PARENTS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'inherits ' || CAST(CAST(i.inhparent AS regclass) AS text)
           || CASE WHEN to_jsonb(i) ->> 'inhdetachpending' = 'true' THEN ' detach pending' ELSE '' END
    FROM {RELATION} JOIN pg_inherits i ON i.inhrelid = r.oid
    ORDER BY r.nspname, r.relname, i.inhseqno
""")

COLUMNS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'column ' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
           || coalesce(' collate ' || (SELECT quote_ident(k.nspname) || '.' || quote_ident(l.collname)
                  FROM pg_collation l JOIN pg_namespace k ON k.oid = l.collnamespace
                  WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation), '')
           || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
           || coalesce(CASE a.attgenerated WHEN 's' THEN ' generated stored '
                                           WHEN 'v' THEN ' generated virtual ' ELSE ' default ' END
                       || pg_get_expr(d.adbin, d.adrelid), '')
           || CASE a.attidentity WHEN 'a' THEN ' identity always'
                                 WHEN 'd' THEN ' identity by default' ELSE '' END
           || ' storage ' || CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
                                               WHEN 'm' THEN 'main' ELSE 'extended' END
           || coalesce(' compression ' || nullif(to_jsonb(a) ->> 'attcompression', ''), '')
           || coalesce(' statistics ' || nullif(to_jsonb(a) ->> 'attstattarget', '-1'), '')
           || coalesce(' options ' || CAST(a.attoptions AS text), '')
           || coalesce(' foreign options ' || CAST(a.attfdwoptions AS text), '')
           || CASE WHEN a.attislocal THEN '' ELSE ' inherited' END
           || coalesce(' comment ' || quote_literal(col_description(r.oid, a.attnum)), '')
    FROM {RELATION}
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
    ORDER BY r.nspname, r.relname, a.attnum
""")

# Version 18 lists NOT NULL here too (contype 'n'), by name and with its validity.
CONSTRAINTS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'constraint ' || quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
           || CASE WHEN k.convalidated THEN '' ELSE ' (not validated)' END
           || CASE WHEN to_jsonb(k) ->> 'conenforced' = 'false' THEN ' (not enforced)' ELSE '' END
           || CASE WHEN k.conislocal THEN '' ELSE ' (inherited)' END
           || CASE WHEN k.conparentid <> 0 THEN ' (of the partitioned table)' ELSE '' END
           || coalesce(' comment ' || quote_literal(obj_description(k.oid, 'pg_constraint')), '')
    FROM {RELATION} JOIN pg_constraint k ON k.conrelid = r.oid
    WHERE k.contype <> 't'
    ORDER BY r.nspname, r.relname, k.conname COLLATE "C"
""")

INDEXES: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'index ' || pg_get_indexdef(i.indexrelid)
           || CASE WHEN i.indisprimary THEN ' (primary)' ELSE '' END
           || CASE WHEN i.indimmediate THEN '' ELSE ' (deferrable)' END
           || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END
           || CASE WHEN i.indisready THEN '' ELSE ' (not ready)' END
           || CASE WHEN i.indisclustered THEN ' (clustered)' ELSE '' END
           || CASE WHEN i.indisreplident THEN ' (replica identity)' ELSE '' END
           || coalesce(' tablespace ' || (SELECT spcname FROM pg_tablespace WHERE oid = x.reltablespace), '')
           || coalesce(' statistics ' || (
                  SELECT string_agg(a.attnum || '=' || (to_jsonb(a) ->> 'attstattarget'), ','
                                    ORDER BY a.attnum)
                  FROM pg_attribute a
                  WHERE a.attrelid = x.oid AND coalesce(to_jsonb(a) ->> 'attstattarget', '-1') <> '-1'), '')
           || coalesce(' comment ' || quote_literal(obj_description(x.oid, 'pg_class')), '')
    FROM {RELATION} JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class x ON x.oid = i.indexrelid
    ORDER BY r.nspname, r.relname, x.relname COLLATE "C"
""")

PRIVILEGES: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           ('grant ' || g.privilege_type || coalesce(' (' || quote_ident(g.attname) || ')', '') || ' to '
           || CASE g.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
           || CASE WHEN g.is_grantable THEN ' with grant option' ELSE '' END
           || ' by ' || quote_ident(pg_get_userbyid(g.grantor))) COLLATE "C" AS line
    FROM {RELATION}, LATERAL (
        SELECT NULL AS attname, l.* FROM aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) AS l
        UNION ALL
        SELECT a.attname, l.* FROM pg_attribute a, aclexplode(a.attacl) AS l
        WHERE a.attrelid = r.oid AND NOT a.attisdropped) AS g
    ORDER BY 2, 3, 5
""")

POLICIES: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'policy ' || quote_ident(p.polname) || CASE WHEN p.polpermissive THEN '' ELSE ' restrictive' END
           || ' for ' || CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                                       WHEN 'd' THEN 'delete' ELSE 'all' END
           || ' to ' || (SELECT string_agg(CASE o WHEN 0 THEN 'public' ELSE pg_get_userbyid(o) END, ', '
                                            ORDER BY o = 0, pg_get_userbyid(o))
                         FROM unnest(p.polroles) AS o)
           || coalesce(' using ' || pg_get_expr(p.polqual, p.polrelid), '')
           || coalesce(' check ' || pg_get_expr(p.polwithcheck, p.polrelid), '')
           || coalesce(' comment ' || quote_literal(obj_description(p.oid, 'pg_policy')), '')
    FROM {RELATION} JOIN pg_policy p ON p.polrelid = r.oid
    ORDER BY r.nspname, r.relname, p.polname COLLATE "C"
""")

RULES: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           pg_get_ruledef(w.oid) || ' enabled ' || CAST(w.ev_enabled AS text)
    FROM {RELATION} JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    ORDER BY r.nspname, r.relname, w.rulename COLLATE "C"
""")

# ALTER TABLE ... DISABLE TRIGGER ALL switches the foreign keys' own triggers off as well.
SWITCHED_CHECKS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           ('check of ' || quote_ident(k.conname) || ' in ' || CAST(CAST(k.conrelid AS regclass) AS text)
           || ' switched to ' || CAST(g.tgenabled AS text) || ' for event ' || g.tgtype) COLLATE "C" AS line
    FROM {RELATION} JOIN pg_trigger g ON g.tgrelid = r.oid JOIN pg_constraint k ON k.oid = g.tgconstraint
    WHERE g.tgisinternal AND g.tgenabled <> 'O'
    ORDER BY 2, 3, 5
""")

PUBLICATIONS: Final = text(f"""
    SELECT r.kind, r.nspname, r.relname, r.relname,
           'published by ' || quote_ident(p.pubname)
           || coalesce(' columns ' || (to_jsonb(p) ->> 'attnames'), '')
           || coalesce(' where ' || (to_jsonb(p) ->> 'rowfilter'), '')
    FROM {RELATION} JOIN pg_publication_tables p ON p.schemaname = r.nspname AND p.tablename = r.relname
    ORDER BY r.nspname, r.relname, p.pubname COLLATE "C"
""")

TRIGGERS: Final = text(f"""
    SELECT 'trigger', r.nspname, r.relname, g.tgname, pg_get_triggerdef(g.oid)
           || ' enabled ' || CASE g.tgenabled WHEN 'O' THEN 'origin' WHEN 'D' THEN 'never'
                                              WHEN 'R' THEN 'replica' ELSE 'always' END
           || coalesce(' comment ' || quote_literal(obj_description(g.oid, 'pg_trigger')), '')
    FROM {RELATION} JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal
    ORDER BY r.nspname, r.relname, g.tgname COLLATE "C"
""")

TABLE_FACTS: Final = (
    RELATIONS, PARENTS, COLUMNS, CONSTRAINTS, INDEXES, PRIVILEGES, POLICIES, RULES, SWITCHED_CHECKS,
    PUBLICATIONS, TRIGGERS,
)  # fmt: skip
