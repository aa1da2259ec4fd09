"""Scripts: what `alembic upgrade head --sql` prints for psql, mysql, mariadb and sqlite3.

The protocol is not written again here: the steps are those of `migrator.plan` and the dialects, printed with
the discipline the runner would keep. Only what the runner does in Python, its loops and its questions to
the catalog, has a form of its own in each database's language.
"""

from migrator.offline.adoption import write_abandonment, write_adoption
from migrator.offline.script import write_script
from migrator.offline.sets import write_restore_set, write_sweep_set

__all__ = ["write_abandonment", "write_adoption", "write_restore_set", "write_script", "write_sweep_set"]
