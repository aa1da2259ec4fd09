"""pytest-alembic's tests over the shipped revisions: one head, up from nothing, as the models, and back."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy.engine import Engine

from tests.conftest import Database
from tests.drill.harness import ROOT

__all__ = [
    "test_model_definitions_match_ddl",
    "test_single_head_revision",
    "test_up_down_consistency",
    "test_upgrade",
]


@pytest.fixture
def alembic_config(database: Database) -> dict[str, Any]:
    """The checkout's alembic.ini on the test's database."""
    return {
        "file": str(ROOT / "alembic.ini"),
        "script_location": "migrator:alembic",
        "sqlalchemy.url": database.url.replace("%", "%%"),
    }


@pytest.fixture
def alembic_engine(database: Database) -> Engine:
    """The test's database, empty."""
    return database.engine
