"""Values become text that is the same in every run."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.report.markdown import code, escaped
from migrator.report.values import pairs, plain, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        ("é", "é"),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+2"), "100"),
        (Decimal("NaN"), "NaN"),
        (b"\x00\xff", "0x00ff"),
        (memoryview(b"a"), "0x61"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29T01:02:03.000004"),
        (dt.time(1, 2), "01:02:00"),
        ((1, b"a"), [1, "0x61"]),
        ({1: Decimal(1)}, {"1": "1"}),
    ],
)
def test_what_json_cannot_hold_is_text(value: Any, text: Any) -> None:
    """Each type has one form."""
    assert plain(value) == text


@given(st.text())
def test_no_text_moves_the_cursor(text: str) -> None:
    """A cell holds nothing but printable characters, whatever the database holds."""
    assert shown(text).isprintable()


@given(st.recursive(st.none() | st.floats() | st.binary() | st.decimals() | st.uuids(), st.lists))
def test_every_value_can_be_written_as_strict_json(value: Any) -> None:
    """What `plain` gives, a strict JSON writer takes."""
    json.dumps(plain(value), allow_nan=False)


def test_pairs_name_each_column() -> None:
    """NULL is said in so many letters."""
    assert pairs({"a": 1, "b": None}) == "a = 1, b = NULL"


@pytest.mark.parametrize(
    ("text", "fenced"), [("a", "`a`"), ("`a`", "`` `a` ``"), ("a `` b", "``` a `` b ```")]
)
def test_code_in_markdown_survives_backticks(text: str, fenced: str) -> None:
    """The fence is longer than any run of backticks within."""
    assert code(text) == fenced


def test_cells_in_markdown_are_escaped() -> None:
    """A pipe in a value does not end its cell."""
    assert escaped("a|b *c* <d>") == r"a\|b \*c\* \<d>"
