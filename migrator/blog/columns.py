"""What the corrected and the audited blog have in common, so that they differ in nothing by accident."""

from typing import Final

from sqlalchemy import DateTime
from sqlalchemy.dialects import mysql

# Names are spelled out because a constraint nobody named cannot be dropped by the same statement on
# every engine.
NAMING: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
}

USERNAME_LENGTH: Final = 80
EMAIL_LENGTH: Final = 120
TITLE_LENGTH: Final = 200

# MySQL and MariaDB round a plain DATETIME to whole seconds: posts of one second would share an instant,
# which is the very thing the audit found.
Timestamp: Final = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
