"""Acks, and everything that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.ack import read_ack


@pytest.mark.parametrize(
    ("message", "seq"),
    [
        ('{"action":"ack","seq":7}', 7),
        (b'{"seq":0,"action":"ack","more":1}', 0),
        ('{"action":"ack"}', None),
        ('{"action":"ack","seq":"7"}', None),
        ('{"action":"ack","seq":7.5}', None),
        ('{"action":"filter","seq":7}', None),
        ("[]", None),
        ("", None),
        (b"\xff", None),
        ("[" * 100_000, None),
    ],
)
def test_what_is_read(message: str | bytes, seq: int | None) -> None:
    assert read_ack(message) == seq


@given(st.binary(max_size=60))
def test_rubbish_is_none(message: bytes) -> None:
    assert read_ack(message) is None
