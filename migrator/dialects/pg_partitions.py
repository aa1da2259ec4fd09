"""A partitioned child before PostgreSQL 18, where a foreign key on it cannot be NOT VALID (42809).

Each partition gets the key, NOT VALID, and is validated by itself; then the key is declared on the
child, which finds the partitions' keys valid and attaches them without a scan. One that is not
valid would not be attached: a second key would be made and that partition scanned under a lock
that stops writers. So the last step looks first, with the child locked against new partitions.
"""

from __future__ import annotations

from migrator.catalog import Facts
from migrator.dialects.pg_facts import Partition, by_partition, extras, leaf_foreign_key, own_foreign_key
from migrator.dialects.pg_key import add_key, both, key_name, lock_writers_out, second, whole_key
from migrator.dialects.pg_null import null_constraints
from migrator.dialects.pg_words import analyze, body, literal, quote, slug, step, table_sql
from migrator.plan import Step
from migrator.reference import TableName


def leaves(facts: Facts) -> tuple[Partition, ...]:
    """The partitions that hold rows."""
    return extras(facts.child).leaves


def has_key(facts: Facts, name: str) -> bool:
    """Whether any partition carries the key by itself."""
    return by_partition(facts) and any(fk.name == name for leaf in leaves(facts) for fk in leaf.foreign_keys)


def without_key(facts: Facts) -> tuple[TableName, ...]:
    """The partitions that lack the key: all of them, or those added since the others got it."""
    return tuple(leaf.name for leaf in leaves(facts) if leaf_foreign_key(facts, leaf) is None)


def validate_steps(facts: Facts, columns: tuple[str, ...], *, parent_first: bool) -> list[Step]:
    """Validate partition by partition, then the null constraint as a whole, then attach."""
    steps = [] if own_foreign_key(facts) else [_add_leaf(facts, name) for name in without_key(facts)]
    steps += [_validate_leaf(facts, leaf.name) for leaf in leaves(facts)]
    checks = null_constraints(facts, columns)
    if checks:
        steps.append(_validate_check(facts, checks))
    steps.append(_attach(facts, parent_first=parent_first))
    return steps


def _leaf(facts: Facts, name: TableName) -> Partition:
    return next((leaf for leaf in leaves(facts) if leaf.name == name), Partition(name, facts.child.name))


def _add_leaf(facts: Facts, name: TableName) -> Step:
    return step(
        f"add-foreign-key-{slug(name)}",
        f"add {key_name(facts)} to partition {name}, which is new, without looking at old rows",
        (add_key(facts, name),),
        locks=((name, "SHARE ROW EXCLUSIVE"), (facts.parent.name, "SHARE ROW EXCLUSIVE")),
        blocks="writers of the partition and of the parent, for the queue and a millisecond",
        done=lambda facts: own_foreign_key(facts) or name not in without_key(facts),
    )


def _validate_leaf(facts: Facts, name: TableName) -> Step:
    def done(facts: Facts) -> bool:
        fk = leaf_foreign_key(facts, _leaf(facts, name))
        return own_foreign_key(facts) or (fk is not None and fk.validated is True)

    return step(
        f"validate-{slug(name)}",
        f"prove {key_name(facts)} against every row of partition {name}",
        (
            analyze(name, facts.reference.columns),
            f"ALTER TABLE {table_sql(name)} VALIDATE CONSTRAINT {quote(key_name(facts))}",
        ),
        locks=((name, "SHARE UPDATE EXCLUSIVE"), (facts.parent.name, "ROW SHARE")),
        blocks="no reader or writer; VACUUM and other DDL on the partition wait for the scan",
        done=done,
        patience="long",
        violation="sweep",
    )


def _validate_check(facts: Facts, checks: tuple[str, ...]) -> Step:
    wanted = ", ".join(f"VALIDATE CONSTRAINT {quote(name)}" for name in checks)
    return step(
        "validate",
        f"prove {' and '.join(checks)} against every row",
        (f"ALTER TABLE {table_sql(facts.child.name)} {wanted}",),
        locks=((facts.child.name, "SHARE UPDATE EXCLUSIVE"),),
        blocks="no reader or writer; VACUUM and other DDL on the child wait for the scan",
        done=lambda facts: facts.not_null or facts.null_check == "valid",
        patience="long",
        violation="sweep",
    )


def _attach(facts: Facts, *, parent_first: bool) -> Step:
    child, name = facts.child.name, key_name(facts)
    message = (
        f"a partition of {child} has no valid {name}: it was added meanwhile; run the same command again"
    )
    check = (
        f"\nBEGIN\n  IF EXISTS (SELECT FROM pg_partition_tree({literal(table_sql(child))}) t WHERE t.isleaf\n"
        f"      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = t.relid AND c.contype = 'f'\n"
        f"                      AND c.conname = {literal(name)} AND c.convalidated)) THEN\n"
        f"    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',\n"
        f"      MESSAGE = {literal(message)};\n  END IF;\nEND\n"
    )

    locks = lock_writers_out(facts, parent_first=parent_first)

    def done(facts: Facts) -> bool:
        fk = facts.foreign_key
        return own_foreign_key(facts) and fk is not None and fk.validated is True

    return step(
        "attach-foreign-key",
        f"declare {name} on {child}: the partitions' valid keys are attached without a scan",
        (
            *locks,
            f"DO {body(check)}",
            whole_key(facts),
        ),
        locks=both(facts, "SHARE ROW EXCLUSIVE"),
        blocks="writers of both tables, for the queue and a few milliseconds",
        done=done,
        brief=second(locks),
    )
