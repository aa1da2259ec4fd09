"""The catalog queries. Names come in as bound values, never as text, so any name will do.

Those that speak of tables ask for several at once, whose `owner` each row then names.
None of them opens a user's table: sizes are the statistics' (`relpages`), not `pg_relation_size`,
which would wait behind another session's ACCESS EXCLUSIVE lock.
"""

from __future__ import annotations

from typing import Final

# `pg_table_is_visible` is how the server itself reads an unqualified name.
RESOLVE: Final = """
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS relkind,
       c.relpersistence AS persistence, c.relispartition AS is_partition,
       CASE WHEN c.reltuples > 0 THEN c.reltuples::bigint END AS rows,
       c.relpages::bigint * current_setting('block_size')::bigint AS bytes,
       has_table_privilege(c.oid, 'UPDATE') OR has_table_privilege(c.oid, 'DELETE')
         OR has_table_privilege(c.oid, 'TRUNCATE') AS lockable,
       c.relhasrules AS ruled, w.place,
       EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D') AS watched
FROM unnest(CAST(:names AS text[]), CAST(:schemas AS text[])) WITH ORDINALITY w(name, schema, place)
JOIN pg_class c ON c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE CASE WHEN w.schema IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = w.schema END
"""

NAMES: Final = """
SELECT n.nspname AS schema, c.relname AS name, pg_table_is_visible(c.oid) AS visible
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
ORDER BY 1, 2
"""

# attgenerated: 's' stored, 'v' virtual (18). A collation is told only where it is not the type's own.
COLUMNS: Final = """
SELECT a.attrelid AS owner, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       a.attgenerated AS generated, a.attidentity AS identity,
       EXISTS (SELECT FROM pg_depend s
               WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass
                 AND s.refobjid = a.attrelid AND s.refobjsubid = a.attnum AND s.deptype = 'a'
                 AND EXISTS (SELECT FROM pg_class q WHERE q.oid = s.objid AND q.relkind = 'S')) AS serial,
       CASE WHEN a.attcollation <> t.typcollation
            THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END AS collation
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
WHERE a.attrelid = ANY(CAST(:oids AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

# The foreign keys of some tables, seen from the child (`conrelid`) or the parent (`confrelid`).
# A key to a partitioned parent has further rows for each of the parent's partitions: same child,
# `conparentid` set. On 13 to 17 those keep convalidated = false after VALIDATE, so they are left
# out; so are, seen from a parent, the copies on a partitioned child's partitions.
FOREIGN_KEYS: Final = """
SELECT k.{side} AS owner, k.conname AS name, cn.nspname AS child_schema, cc.relname AS child,
       pn.nspname AS parent_schema, pc.relname AS parent,
       to_json(ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(num, ord)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.ord)) AS columns,
       to_json(ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(num, ord)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num
             ORDER BY u.ord)) AS parent_columns,
       k.confdeltype AS on_delete, k.confupdtype AS on_update, k.confmatchtype AS match,
       k.condeferrable AS deferrable, k.condeferred AS deferred, k.convalidated AS validated,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AS enforced,
       k.conparentid <> 0 AS inherited
FROM pg_constraint k
JOIN pg_class cc ON cc.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace
JOIN pg_class pc ON pc.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = pc.relnamespace
WHERE k.contype = 'f' AND k.{side} = ANY(CAST(:oids AS oid[]))
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
  AND NOT EXISTS (SELECT FROM pg_constraint up WHERE up.oid = k.conparentid AND up.{side} = k.{side})
ORDER BY cn.nspname, cc.relname, k.conname
"""

CONSTRAINTS: Final = """
SELECT k.conrelid AS owner, k.conname AS name, k.contype AS type, k.convalidated AS validated,
       pg_get_constraintdef(k.oid) AS definition,
       (SELECT a.attname FROM pg_attribute a
        WHERE k.contype = 'n' AND a.attrelid = k.conrelid AND a.attnum = k.conkey[1]) AS column
FROM pg_constraint k
WHERE k.conrelid = ANY(CAST(:oids AS oid[]))
  AND NOT EXISTS (SELECT FROM pg_constraint up WHERE up.oid = k.conparentid AND up.conrelid = k.conrelid)
ORDER BY k.conname
"""

# indkey lists the key columns first, then those INCLUDEd; a 0 stands for an expression.
INDEXES: Final = """
SELECT i.indrelid AS owner, c.relname AS name, i.indisunique AS unique, i.indisprimary AS primary,
       i.indisvalid AND i.indislive AS valid, i.indimmediate AS immediate, i.indpred IS NOT NULL AS partial,
       m.amname AS kind,
       to_json(ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY u(num, ord)
             LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num AND u.num <> 0
             WHERE u.ord <= i.indnkeyatts ORDER BY u.ord)) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY(CAST(:oids AS oid[]))
ORDER BY c.relname
"""

TRIGGERS: Final = """
SELECT tgrelid AS owner, tgname::text AS name FROM pg_trigger
WHERE tgrelid = ANY(CAST(:oids AS oid[])) AND NOT tgisinternal ORDER BY tgname
"""

RELATIVES: Final = """
SELECT w.oid AS owner, n.nspname AS schema, c.relname AS name, i.inhrelid = w.oid AS is_parent,
       child.relispartition AS is_partition
FROM unnest(CAST(:oids AS oid[])) w(oid)
JOIN pg_inherits i ON w.oid IN (i.inhrelid, i.inhparent)
JOIN pg_class child ON child.oid = i.inhrelid
JOIN pg_class c ON c.oid = CASE WHEN i.inhrelid = w.oid THEN i.inhparent ELSE i.inhrelid END
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY i.inhseqno, n.nspname, c.relname
"""

# Parents before children.
PARTITIONS: Final = """
SELECT c.oid, n.nspname AS schema, c.relname AS name, un.nspname AS up_schema, up.relname AS up_name,
       t.isleaf AS leaf, c.relkind = 'f' AS foreign,
       CASE WHEN c.reltuples > 0 THEN c.reltuples::bigint END AS rows,
       c.relpages::bigint * current_setting('block_size')::bigint AS bytes
FROM pg_partition_tree(CAST(:oid AS oid)) t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class up ON up.oid = t.parentrelid JOIN pg_namespace un ON un.oid = up.relnamespace
WHERE t.level > 0
ORDER BY t.level, n.nspname, c.relname
"""

# As `transformFkeyCheckAttrs` and `ATAddForeignKeyConstraint` in src/backend/commands/tablecmds.c
# have it: the parent's operator family must hold an equality of the two types, or the child's type
# must become the parent's by an implicit cast. Domains count as what they are made of.
TYPE_CONFLICTS: Final = """
WITH RECURSIVE pair AS (
  SELECT u.ours, u.theirs, c.atttypid AS child_type, p.atttypid AS parent_type
  FROM unnest(CAST(:columns AS text[]), CAST(:parent_columns AS text[])) u(ours, theirs)
  JOIN pg_attribute c ON c.attname = u.ours AND c.attrelid =
    (SELECT x.oid FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace
     WHERE x.relname = :child AND n.nspname = :child_schema)
  JOIN pg_attribute p ON p.attname = u.theirs AND p.attrelid =
    (SELECT x.oid FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace
     WHERE x.relname = :parent AND n.nspname = :parent_schema)
), base(domain, type) AS (
  SELECT t.oid, t.oid FROM pg_type t
  WHERE t.oid IN (SELECT child_type FROM pair UNION SELECT parent_type FROM pair)
  UNION ALL
  SELECT b.domain, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
), plain AS (
  SELECT pair.ours, pair.theirs, c.type AS child_type, p.type AS parent_type
  FROM pair
  JOIN base c ON c.domain = pair.child_type AND (SELECT typtype FROM pg_type WHERE oid = c.type) <> 'd'
  JOIN base p ON p.domain = pair.parent_type AND (SELECT typtype FROM pg_type WHERE oid = p.type) <> 'd'
)
SELECT ours, theirs FROM plain
WHERE child_type <> parent_type AND NOT EXISTS (
  SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
  WHERE m.amname = 'btree' AND o.opcdefault
    AND (o.opcintype = parent_type OR EXISTS (
           SELECT FROM pg_cast k WHERE k.castsource = parent_type AND k.casttarget = o.opcintype
             AND k.castmethod = 'b' AND k.castcontext = 'i'))
    AND (EXISTS (SELECT FROM pg_amop a
                 WHERE a.amopfamily = o.opcfamily AND a.amoplefttype = o.opcintype
                   AND a.amoprighttype = child_type AND a.amopstrategy = 3)
         OR EXISTS (SELECT FROM pg_cast k WHERE k.castsource = child_type AND k.casttarget = o.opcintype
                      AND k.castcontext = 'i')))
"""
