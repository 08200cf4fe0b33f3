"""Whatever bytes come, a decoder understands them or says in its own way that it does not."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.long_form import LONG
from tests.fuzz.decoders import DECODERS

PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b"\\u", b":", b",", b"\n", b"null", b"1e999", b"-", b"<", b"&"]
    ),
    st.just(b"[" * 2_000),
    st.just(b'{"a":' * 2_000),
    st.just(b"9" * 5_000),
)


@st.composite
def near(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw what a decoder takes, with a few places changed, cut or said twice; or rubbish."""
    data = draw(st.sampled_from((*seeds, b"")))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        data = data[:start] + draw(PIECES) + data[end:]
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_are_understood_or_refused(name: str) -> None:
    decoder = DECODERS[name]

    @settings(max_examples=20_000 if LONG else 60)
    @given(near(decoder.seeds))
    def read(data: bytes) -> None:
        with contextlib.suppress(*decoder.raises):
            decoder.read(data)

    read()


@pytest.mark.parametrize("name", [name for name in DECODERS if not name.startswith("wire.")])
def test_what_it_begins_with_is_taken(name: str) -> None:
    for seed in DECODERS[name].seeds:
        with contextlib.suppress(*DECODERS[name].raises):
            DECODERS[name].read(seed)
    assert DECODERS[name].seeds
