"""Load a dataset, tables kept as CSV files beside a `dataset.json`, into a database.

    python scripts/load_dataset.py path/to/dataset postgresql://user:password@host/database

The tables are created, without foreign keys; they must not be there yet. `migrator.blog.dataset` describes
the format.
"""

import argparse
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from migrator.blog.dataset import load_dataset
from migrator.errors import MigratorError
from migrator.settings import database_url


def main(arguments: list[str] | None = None) -> int:
    """Run the script.

    Args:
        arguments: the command line; by default the process's own.

    Returns:
        The exit code: 0 when everything was loaded, 1 when the database said no, 2 for a usage error.
    """
    parser = argparse.ArgumentParser(description="Load a dataset into a database.")
    parser.add_argument("folder", type=Path, help="the folder that holds dataset.json")
    parser.add_argument("url", help="the database, such as sqlite:///data.db")
    options = parser.parse_args(arguments)
    try:
        counts = _load(options.folder, options.url)
    except MigratorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for table, rows in counts.items():
        print(f"{table}: {rows:,} rows")
    return 0


def _load(folder: Path, url: str) -> dict[str, int]:
    try:
        engine = create_engine(database_url(url))
        try:
            return load_dataset(engine, folder)
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        # The driver's own words, without SQLAlchemy's, which would print statement and rows.
        reason = getattr(error, "orig", None) or error
        raise MigratorError(f"The database refused: {reason}") from error


if __name__ == "__main__":
    sys.exit(main())
