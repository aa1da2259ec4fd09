"""The journal's tables: runs, their steps, the manifest of quarantine tables, and the lease."""

from __future__ import annotations

import sqlalchemy as sa

from migrator.naming import OWN_PREFIX

METADATA = sa.MetaData()

RUN = sa.Table(
    OWN_PREFIX + "run",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("reference_key", sa.String(32), nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("operation", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("started_at", sa.String(32), nullable=False),
    sa.Column("heartbeat_at", sa.String(32), nullable=False),
    sa.Column("finished_at", sa.String(32)),
    sa.Column("requested", sa.String(16)),
    sa.Column("message", sa.Text),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

STEP = sa.Table(
    OWN_PREFIX + "step",
    METADATA,
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("ours", sa.SmallInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("started_at", sa.String(32), nullable=False),
    sa.Column("finished_at", sa.String(32)),
    sa.Column("detail", sa.Text, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

MIRROR = sa.Table(
    OWN_PREFIX + "mirror",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("reference_key", sa.String(32), nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("table_schema", sa.String(255)),
    sa.Column("table_name", sa.String(255), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

# Apart from the others: it is held while they are dropped.
LEASE = sa.Table(
    OWN_PREFIX + "lease",
    sa.MetaData(),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("acquired_at", sa.String(32), nullable=False),
    sa.Column("heartbeat_at", sa.String(32), nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
