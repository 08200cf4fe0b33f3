"""JSON that says the same, and holds nothing that a terminal minds."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.operate.ascii_json import as_ascii


class Part(msgspec.Struct):
    name: str
    more: tuple[float, ...] = ()


@given(st.text(st.characters(codec="utf-8")))
def test_it_says_the_same_in_printable_ascii(text: str) -> None:
    said = as_ascii({"parts": [Part(text, (1.5,))]})
    assert said.isascii()
    assert said.isprintable()
    assert json.loads(said) == {"parts": [{"name": text, "more": [1.5]}]}
