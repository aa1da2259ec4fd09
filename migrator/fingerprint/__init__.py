"""Fingerprints of schema and data: were they the same, and if not, which table, column and row?"""

from migrator.fingerprint.compare import compare, table_differences
from migrator.fingerprint.data import data_digest
from migrator.fingerprint.model import (
    DEFAULT_PARTS,
    DEFAULT_ROW_LIMIT,
    Difference,
    Fingerprint,
    PartDigest,
    RowDigest,
    TableDigest,
)
from migrator.fingerprint.narrow import differing_keys
from migrator.fingerprint.schema import schema_text
from migrator.fingerprint.take import take

__all__ = [
    "DEFAULT_PARTS",
    "DEFAULT_ROW_LIMIT",
    "Difference",
    "Fingerprint",
    "PartDigest",
    "RowDigest",
    "TableDigest",
    "compare",
    "data_digest",
    "differing_keys",
    "schema_text",
    "table_differences",
    "take",
]
