"""Fingerprints to JSON and back. Sums are written in hexadecimal: they do not fit a double."""

from __future__ import annotations

import json
from typing import Any, Final

from migrator.fingerprint.model import Fingerprint, PartDigest, RowDigest, TableDigest

VERSION: Final = "migrator.fingerprint/1"


def encode(fingerprint: Fingerprint) -> str:
    """Return `fingerprint` as one line of JSON with sorted keys, so that equal ones are equal as text."""
    document = {
        "schema": VERSION,
        "dialect": fingerprint.dialect,
        "objects": dict(fingerprint.schema),
        "tables": {name: _encode_table(digest) for name, digest in fingerprint.tables.items()},
        "counters": dict(fingerprint.counters),
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def decode(text: str) -> Fingerprint:
    """Read what `encode` wrote.

    Raises ValueError where `text` is no JSON, or not a fingerprint of this version.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("schema") != VERSION:
        raise ValueError(f"this is not a fingerprint in the form {VERSION}")
    return Fingerprint(
        dialect=document["dialect"],
        schema=document["objects"],
        tables={name: _decode_table(name, entry) for name, entry in document["tables"].items()},
        counters=document["counters"],
    )


def _encode_table(digest: TableDigest) -> dict[str, Any]:
    return {
        "columns": digest.columns,
        "key": digest.key,
        "integer_key": digest.integer_key,
        "key_range": digest.key_range,
        "part_count": digest.part_count,
        "parts": {
            str(number): [part.rows, f"{part.total:x}", f"{part.keyed:x}", [f"{s:x}" for s in part.columns]]
            for number, part in sorted(digest.parts.items())
        },
        "rows": digest.row_digests,
    }


def _decode_table(name: str, entry: dict[str, Any]) -> TableDigest:
    rows = entry["rows"]
    return TableDigest(
        table=name,
        columns=tuple(entry["columns"]),
        key=tuple(entry["key"]),
        integer_key=entry["integer_key"],
        key_range=None if entry["key_range"] is None else (entry["key_range"][0], entry["key_range"][1]),
        part_count=entry["part_count"],
        parts={
            int(number): PartDigest(count, int(total, 16), int(keyed, 16), tuple(int(s, 16) for s in sums))
            for number, (count, total, keyed, sums) in entry["parts"].items()
        },
        row_digests=None if rows is None else tuple(RowDigest(tuple(key), code) for key, code in rows),
    )
