"""Lines out of pieces: numbered, without their ends, bounded."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.adapters.lines import Line, Lines


def read(document: bytes, chunk_bytes: int = 0, max_bytes: int = 10) -> list[Line]:
    lines = Lines(max_bytes)
    step = chunk_bytes or len(document) or 1
    found = [
        line for start in range(0, len(document), step) for line in lines.feed(document[start : start + step])
    ]
    return found + lines.close()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (b"a\n\nb", [Line(1, b"a"), Line(3, b"b", whole=False)]),
        (b"a\r\nb\r\n", [Line(1, b"a"), Line(2, b"b")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [Line(1, b"a"), Line(2, b"\xef\xbb\xbfb")]),
        (b"x" * 10 + b"\r\n", [Line(1, b"x" * 10)]),
        (b"x" * 11 + b"\ny\n", [Line(1, None), Line(2, b"y")]),
        (b"x" * 1000, [Line(1, None, whole=False)]),
    ],
)
def test_lines(document: bytes, expected: list[Line]) -> None:
    assert read(document) == expected
    assert read(document, 1) == expected


@given(st.binary(max_size=60), st.integers(1, 20))
def test_cut_anywhere_they_are_the_same(document: bytes, chunk_bytes: int) -> None:
    document = document.replace(b"\x00", b"\n")
    assert read(document, chunk_bytes) == read(document)


def test_a_line_without_end_is_not_held() -> None:
    lines = Lines(1_000)
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(200):
            assert lines.feed(chunk) == []
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 65_536
