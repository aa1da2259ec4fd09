"""What Python's garbage collector is spared while an operation runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Have the collector leave alone what was there before: modules, classes and tables, some hundred
    thousand objects that it would look over whenever a few thousand keys have been read (measured: a
    fifteenth of the time of a sweep). They are given back to it at the end. Does nothing where somebody has
    done so already, such as a server that forks.

    Source: https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
