"""MariaDB 10.11 to 11.8: where it differs from MySQL."""

from __future__ import annotations

from typing import ClassVar, Literal

from migrator.catalog import Facts
from migrator.dialects import mysql_steps as steps
from migrator.dialects.mysql import MySQL
from migrator.dialects.mysql_fence import by_name
from migrator.plan import Step


class MariaDB(MySQL):
    """As MySQL, with the parent fenced: with the checks off, MariaDB's ALTER takes no lock on it."""

    family: Literal["mysql", "mariadb"] = "mariadb"
    time_limit: ClassVar[str] = "max_statement_time"

    #: A long IN list is not to become a subquery, nor a long OR to be cut short; and a transaction is not
    #: to fail (1020) because another changed a row after our snapshot.
    session: ClassVar[dict[str, str]] = {
        "in_predicate_conversion_threshold": "0",
        "optimizer_max_sel_arg_weight": "0",
        "max_statement_time": "0",
        "innodb_snapshot_isolation": "OFF",
    }

    def enforce_steps(self, facts: Facts) -> tuple[Step, ...]:
        """The foreign key behind a fence in any case: `LOCK TABLES` waits for the open transactions of both
        tables. Without it a DELETE of a parent, not yet committed, leaves orphans under the new key.

        From 11.2 on `ALGORITHM=COPY, LOCK=NONE` with the checks on would add the key and look at every
        row at once; not here, because enforcing must not depend on there being no orphan: a policy may
        keep them, and one that slips in would cost the whole copy.
        """
        key = steps.add_foreign_key(facts, otherwise=by_name(facts))
        return steps.enforce_steps(facts, key)
