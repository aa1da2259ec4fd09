"""What PostgreSQL's catalog says about everything but tables: sequences, routines, types, schemas.

The same rules hold as in `postgresql_tables`: no OIDs, nothing that counts or was measured, privileges with
the defaults filled in, nothing that belongs to an extension (the extension itself is a line of the database).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text


def _own(catalog: str, oid: str) -> str:
    """The condition that the object `oid` of `catalog` came with no extension."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = CAST('{catalog}' AS regclass) "
        f"AND e.objid = {oid} AND e.deptype = 'e')"
    )


def _grants(acl: str, kind: str, owner: str) -> str:
    """An expression listing the privileges in `acl`, in one line."""
    return f"""'grants ' || coalesce((
        SELECT string_agg(l.privilege_type || ' to '
               || CASE l.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(l.grantee)) END
               || CASE WHEN l.is_grantable THEN ' with grant option' ELSE '' END, ', '
               ORDER BY l.privilege_type, l.grantee = 0, pg_get_userbyid(l.grantee))
        FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) AS l), 'none')"""


SEQUENCES: Final = text(f"""
    SELECT n.nspname, c.relname, s.seqincrement
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (:schemas) AND {_own("pg_class", "c.oid")}
    ORDER BY n.nspname, c.relname COLLATE "C"
""")

SEQUENCE_FACTS: Final = text(f"""
    SELECT 'sequence', n.nspname, c.relname, c.relname, fact.line
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (VALUES
            (1, format_type(s.seqtypid, NULL) || ' start ' || s.seqstart || ' increment ' || s.seqincrement
                || ' from ' || s.seqmin || ' to ' || s.seqmax || ' cache ' || s.seqcache
                || CASE WHEN s.seqcycle THEN ' cycle' ELSE '' END),
            (2, 'persistence ' || CAST(c.relpersistence AS text)),
            (3, 'owner ' || quote_ident(pg_get_userbyid(c.relowner))),
            (4, 'owned by ' || (SELECT string_agg(CAST(CAST(d.refobjid AS regclass) AS text)
                                                  || '.' || quote_ident(a.attname), ', ')
                                FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid
                                                                    AND a.attnum = d.refobjsubid
                                WHERE d.classid = CAST('pg_class' AS regclass) AND d.objid = c.oid
                                  AND d.refclassid = d.classid AND d.deptype IN ('a', 'i'))),
            (5, {_grants("c.relacl", "s", "c.relowner")}),
            (6, 'comment ' || quote_literal(obj_description(c.oid, 'pg_class')))
         ) AS fact (place, line)
    WHERE n.nspname = ANY (:schemas) AND fact.line IS NOT NULL AND {_own("pg_class", "c.oid")}
    ORDER BY n.nspname, c.relname, fact.place
""")

ROUTINES: Final = text(f"""
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
           n.nspname, p.proname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
           fact.line
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
         LATERAL (VALUES
            (1, 'owner ' || quote_ident(pg_get_userbyid(p.proowner))),
            (2, {_grants("p.proacl", "f", "p.proowner")}),
            (3, 'comment ' || quote_literal(obj_description(p.oid, 'pg_proc'))),
            (4, CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END),
            (5, (SELECT 'aggregate ' || concat_ws(' ', CAST(g.aggtransfn AS text), CAST(g.aggfinalfn AS text),
                                                  CAST(g.aggcombinefn AS text),
                                                  format_type(g.aggtranstype, NULL), g.agginitval)
                 FROM pg_aggregate g WHERE g.aggfnoid = p.oid))
         ) AS fact (place, line)
    WHERE n.nspname = ANY (:schemas) AND fact.line IS NOT NULL AND {_own("pg_proc", "p.oid")}
    ORDER BY n.nspname, p.proname, 4, fact.place
""")

# A table's row type and the array types the server makes by itself say nothing of their own.
TYPES: Final = text(f"""
    SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range'
                          WHEN 'm' THEN 'multirange' WHEN 'c' THEN 'composite type' ELSE 'type' END,
           n.nspname, t.typname, t.typname, fact.line
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    LEFT JOIN pg_range g ON g.rngtypid = t.oid,
         LATERAL (VALUES
            (1, 'owner ' || quote_ident(pg_get_userbyid(t.typowner))),
            (2, {_grants("t.typacl", "T", "t.typowner")}),
            (3, 'labels ' || (SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder)
                              FROM pg_enum l WHERE l.enumtypid = t.oid)),
            (4, 'base ' || CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
                || CASE WHEN t.typnotnull THEN ' not null' ELSE '' END
                || coalesce(' default ' || t.typdefault, '')
                || coalesce(' collate ' || (SELECT l.collname FROM pg_collation l
                                           WHERE l.oid = t.typcollation), '')
                END),
            (5, (SELECT string_agg('constraint ' || quote_ident(k.conname)
                                   || ' ' || pg_get_constraintdef(k.oid)
                                   || CASE WHEN k.convalidated THEN '' ELSE ' (not validated)' END,
                                   chr(10) ORDER BY k.conname COLLATE "C")
                 FROM pg_constraint k WHERE k.contypid = t.oid)),
            (6, (SELECT string_agg('attribute ' || quote_ident(a.attname) || ' '
                                   || format_type(a.atttypid, a.atttypmod), chr(10) ORDER BY a.attnum)
                 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)),
            (7, 'range over ' || format_type(g.rngsubtype, NULL)),
            (8, 'comment ' || quote_literal(obj_description(t.oid, 'pg_type')))
         ) AS fact (place, line)
    WHERE n.nspname = ANY (:schemas) AND fact.line IS NOT NULL AND (c.oid IS NULL OR c.relkind = 'c')
      AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) AND {_own("pg_type", "t.oid")}
    ORDER BY n.nspname, t.typname, fact.place
""")

STATISTICS: Final = text("""
    SELECT 'statistics', n.nspname, c.relname, s.stxname, pg_get_statisticsobjdef(s.oid)
           || coalesce(' target ' || nullif(to_jsonb(s) ->> 'stxstattarget', '-1'), '')
           || coalesce(' comment ' || quote_literal(obj_description(s.oid, 'pg_statistic_ext')), '')
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
    JOIN pg_class c ON c.oid = s.stxrelid
    WHERE n.nspname = ANY (:schemas) ORDER BY n.nspname, s.stxname COLLATE "C"
""")

SCHEMA_FACTS: Final = text(f"""
    SELECT 'schema', NULL, n.nspname, n.nspname, fact.line
    FROM pg_namespace n, LATERAL (VALUES
            (1, 'owner ' || quote_ident(pg_get_userbyid(n.nspowner))),
            (2, {_grants("n.nspacl", "n", "n.nspowner")}),
            (3, 'comment ' || quote_literal(obj_description(n.oid, 'pg_namespace')))) AS fact (place, line)
    WHERE n.nspname = ANY (:schemas) AND fact.line IS NOT NULL ORDER BY n.nspname, fact.place
""")

EXTENSIONS: Final = text("""
    SELECT 'extension', n.nspname, e.extname, e.extname, 'version ' || e.extversion
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE n.nspname = ANY (:schemas) ORDER BY e.extname
""")

OBJECT_FACTS: Final = (SEQUENCE_FACTS, ROUTINES, TYPES, STATISTICS, SCHEMA_FACTS, EXTENSIONS)
