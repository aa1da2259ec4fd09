"""django-pg-zero-downtime-migrations adding the same two constraints (PostgreSQL only).

Run as a program: `python -m tests.benchmarks.django_zero_downtime URL`. Its migration: delete the orphans
(RunSQL), then the integer field becomes a foreign key that is NOT NULL.
"""

from __future__ import annotations

import sys
from typing import Any

import sqlalchemy as sa


def main(text: str) -> None:
    """Migrate with Django's schema editor as its backend has it."""
    url = sa.make_url(text)
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["django_zero_downtime_migrations"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DATABASES={
            "default": {
                "ENGINE": "django_zero_downtime_migrations.backends.postgres",
                "NAME": url.database,
                "USER": url.username,
                "PASSWORD": url.password,
                "HOST": url.host,
                "PORT": url.port,
            }
        },
        ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT="2s",
        ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT="2s",
        ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT=True,
        ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE=False,
        ZERO_DOWNTIME_MIGRATIONS_USE_NOT_NULL=True,
    )
    django.setup()
    from django.db import connection, models

    def model(name: str, table: str, fields: dict[str, Any]) -> Any:
        meta = type("Meta", (), {"app_label": "blog", "db_table": table})
        return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})

    user = model("User", "user", {})
    post = model("Post", "post", {"user": models.IntegerField(null=True, db_column="user_id")})
    # NOT NULL first: in the other order Django drops the foreign key to alter its column, and that
    # deadlocked with the writers.
    strict = models.IntegerField(null=False, db_column="user_id")
    linked = models.ForeignKey(user, models.DO_NOTHING, null=False, db_column="user_id", db_index=True)
    for field in (strict, linked):
        field.set_attributes_from_name("user")
        field.model = post
    _say("delete orphans")
    with connection.cursor() as cursor:
        cursor.execute('DELETE FROM post p WHERE NOT EXISTS (SELECT 1 FROM "user" u WHERE u.id = p.user_id)')
    for phase, old, new in (
        ("not null", post._meta.get_field("user"), strict),
        ("foreign key", strict, linked),
    ):
        _say(phase)
        with connection.schema_editor(atomic=False) as editor:
            editor.alter_field(post, old, new)


def _say(phase: str) -> None:
    print(f"phase: {phase}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
