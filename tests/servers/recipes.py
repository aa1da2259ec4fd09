"""The database servers the tests know how to get, and the settings they run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

FamilyName = Literal["sqlite", "postgresql", "mysql", "mariadb"]
FAMILIES: Final[tuple[FamilyName, ...]] = get_args(FamilyName)

ADMIN: Final[dict[FamilyName, str]] = {"postgresql": "postgres", "mysql": "root", "mariadb": "root"}
PORTS: Final[dict[FamilyName, int]] = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}

#: What a server may keep in memory; PostgreSQL does not wait for the disk once told so.
DATA_DIRECTORIES: Final[dict[FamilyName, str]] = {"mysql": "/var/lib/mysql", "mariadb": "/var/lib/mysql"}


@dataclass(frozen=True)
class Recipe:
    """How one version of one server is had.

    Args:
        family: which kind of server it is.
        release: its version as the engine id says it: `18`, `9.7`.
        official: the official image.
        suite: the Debian suite whose package is that version; None where no suite has it.
    """

    family: FamilyName
    release: str
    official: str
    suite: str | None = None

    @property
    def engine_id(self) -> str:
        """The name tests know it by: `postgresql-18`."""
        return f"{self.family}-{self.release}"

    @property
    def built(self) -> str:
        """The tag of the image built from Debian packages."""
        return f"migrator-test-{self.family}:{self.release}"


_KNOWN: Final = (
    Recipe("postgresql", "18", "postgres:18", "sid"),
    Recipe("postgresql", "15", "postgres:15", "bookworm"),
    Recipe("postgresql", "17", "postgres:17", "trixie"),
    Recipe("postgresql", "13", "postgres:13", "bullseye"),
    Recipe("mysql", "9.7", "mysql:9.7", "sid"),
    Recipe("mysql", "8.4", "mysql:8.4"),
    Recipe("mariadb", "11.8", "mariadb:11.8", "trixie"),
    Recipe("mariadb", "10.11", "mariadb:10.11", "bookworm"),
)
RECIPES: Final = {recipe.engine_id: recipe for recipe in _KNOWN}

DEFAULTS: Final[dict[FamilyName, tuple[str, ...]]] = {
    "sqlite": ("sqlite",),
    "postgresql": ("postgresql-18", "postgresql-15"),
    "mysql": ("mysql-9.7",),
    "mariadb": ("mariadb-11.8",),
}
# Run only where a test or the environment names them.
EXTRAS: Final = tuple(
    engine_id for engine_id in RECIPES if not any(engine_id in default for default in DEFAULTS.values())
)

# Speed is bought from the disk alone: what these settings lose is lost with the machine, never with the
# server's process, so a test that kills a server still finds every committed row. That is why
# innodb_flush_log_at_trx_commit is 2 and not 0, and why synchronous_commit stays on.
_MYSQL_SETTINGS: Final = (
    "--log-bin=binlog",
    "--max-binlog-size=64M",
    "--binlog-expire-logs-seconds=600",
    "--server-id=1",
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--innodb-doublewrite=OFF",
    "--skip-name-resolve",
    "--max-connections=200",
    "--character-set-server=utf8mb4",
)
SETTINGS: Final[dict[FamilyName, tuple[str, ...]]] = {
    "postgresql": (
        *("-c", "fsync=off"),
        *("-c", "full_page_writes=off"),
        *("-c", "max_connections=200"),
        *("-c", "max_prepared_transactions=10"),
        *("-c", "wal_level=logical"),
    ),
    "mysql": (*_MYSQL_SETTINGS, "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--mysqlx=OFF"),
    "mariadb": (*_MYSQL_SETTINGS, "--binlog-format=ROW"),
}


def recipe_for(engine_id: str) -> Recipe:
    """Find the recipe of an engine; a version nobody listed may still have an official image."""
    if engine_id in RECIPES:
        return RECIPES[engine_id]
    family = family_of(engine_id)
    image = "postgres" if family == "postgresql" else family
    release = engine_id.partition("-")[2]
    return Recipe(family, release, f"{image}:{release}")


def family_of(engine_id: str) -> FamilyName:
    """Tell the family of an engine id.

    Raises:
        ValueError: it begins with no family's name.
    """
    head = engine_id.partition("-")[0]
    for family in FAMILIES:
        if head == family:
            return family
    raise ValueError(f"{engine_id!r} names no engine: the families are {', '.join(FAMILIES)}")
