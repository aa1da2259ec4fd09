"""Where the real, third-party datasets lie, and how to load one."""

import os
from pathlib import Path

from migrator.blog.dataset import DESCRIPTION, Dataset, Relation, load_dataset, read_dataset

__all__ = ["Dataset", "Relation", "dataset_folder", "dataset_folders", "load_dataset", "read_dataset"]

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[3] / "shared" / "data"


def dataset_folders() -> list[Path]:
    """Find the datasets there are; parametrize with them, and where there are none, no test is collected.

    Returns:
        The folders that hold a `dataset.json`, by name: those in `MIGRATOR_TEST_DATA`, else in the folder
        `shared/data` beside the repository.
    """
    root = Path(os.environ.get("MIGRATOR_TEST_DATA") or _BESIDE_THE_REPOSITORY)
    return sorted(description.parent for description in root.glob(f"*/{DESCRIPTION}"))


def dataset_folder(name: str) -> list[Path]:
    """Find one dataset, in the form that `parametrize` takes.

    Args:
        name: the folder's name.

    Returns:
        A list of its folder; empty where it is not there.
    """
    return [folder for folder in dataset_folders() if folder.name == name]
