"""What was set aside: looked at, exported, put back by hand, purged."""

from migrator.quarantined.holdings import Holding, Selection, holdings
from migrator.quarantined.listing import Entry, entries
from migrator.quarantined.rows import HeldRow, held_rows

__all__ = ["Entry", "HeldRow", "Holding", "Selection", "entries", "held_rows", "holdings"]
