"""Bytes as a person says them."""

from __future__ import annotations


def bytes_told(count: float) -> str:
    """`340 MB`, `1.2 TB`: units of a thousand."""
    number = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
