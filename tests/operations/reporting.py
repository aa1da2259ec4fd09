"""Running commands as a user does, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from click.testing import CliRunner

import migrator
from migrator.cli import main

SCHEMAS = Path(migrator.__file__).parent / "schemas"


@dataclass(frozen=True)
class Ran:
    """A command's exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, read as one JSON object."""
        return json.loads(self.out)


def run(*arguments: str, **environment: str) -> Ran:
    """Run `migrator` with these arguments; the database is named by them alone."""
    clean = {"MIGRATOR_URL": None, "DATABASE_URL": None, "MIGRATOR_DEBUG": None, **environment}
    result = CliRunner().invoke(main, arguments, env=clean)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def check_schema(document: Any) -> None:
    """Hold a document against the JSON Schema that its `schema` names.

    Raises:
        jsonschema.ValidationError: it does not fit.
    """
    name = document["schema"].removeprefix("migrator.").partition("/")[0]
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
