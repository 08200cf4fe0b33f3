"""NDJSON: good lines unchanged, bad ones named, memory bounded, and cut anywhere the same."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EventRejected
from pipeline.event import MAX_EVENT_BYTES, check_event
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.ndjson import NdjsonAdapter

HOST = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
PORT = (
    b'{ "type": "portFound", "ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open", "extra": [1,2.50] }'
)
OTHER = '{"type":"toolNote","text":"größe \\u001b[31m"}'.encode()


def padded(size: int) -> bytes:
    """An event of exactly `size` bytes."""
    empty = b'{"type":"note","pad":""}'
    return b'{"type":"note","pad":"' + b"x" * (size - len(empty)) + b'"}'


def read(document: bytes, chunk_bytes: int = 0, *, part: bool = False) -> list[bytes | Problem]:
    adapter = NdjsonAdapter(part=part)
    out: list[bytes | Problem] = []
    step = chunk_bytes or len(document) or 1
    for start in range(0, len(document), step):
        out += adapter.feed(document[start : start + step])
    return out + adapter.close()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"", []),
        (b"\n \n\t\r\n", []),
        (HOST + b"\n" + PORT + b"\n" + OTHER + b"\n", [HOST, PORT, OTHER]),
        (HOST + b"\n" + PORT, [HOST, PORT]),
        (HOST + b"\r\n\r\n" + PORT + b"\r\n", [HOST, PORT]),
        (b"\xef\xbb\xbf" + HOST + b"\n", [HOST]),
        (padded(MAX_EVENT_BYTES) + b"\r\n", [padded(MAX_EVENT_BYTES)]),
        (b"\xef\xbb\xbf" + padded(MAX_EVENT_BYTES) + b"\r\n", [padded(MAX_EVENT_BYTES)]),
    ],
)
def test_good_lines_go_on_unchanged(document: bytes, expected: list[bytes]) -> None:
    assert read(document) == expected
    assert read(document, 1) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"scanning 10.0.0.5 ...", "not JSON"),
        (HOST + HOST, "not JSON"),
        (b'{"type":"note","text":"\xff"}', "invalid UTF-8 at byte 23: 0xff"),
        (b"[]", "Expected `object`"),
        (b'{"ip":"10.0.0.5"}', "type"),
        (b'{"type":"portFound","ip":"10.0.0.5","port":70000,"protocol":"TCP","state":"Open"}', "<= 65535"),
        (b'{"type":"note","deep":' + b"[" * 5_000, "nested too deeply"),
        (padded(MAX_EVENT_BYTES + 1), "65536 bytes"),
        (padded(1_000_000), "65536 bytes"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [0, 7_000])
def test_a_bad_line_is_named_and_the_next_goes_on(line: bytes, reason: str, chunk_bytes: int) -> None:
    out = read(HOST + b"\n\n" + line + b"\n" + PORT + b"\n", chunk_bytes)
    assert [out[0], out[2]] == [HOST, PORT]
    problem = out[1]
    assert isinstance(problem, Problem)
    assert problem.where == "line 3"
    assert reason in problem.message
    assert "\n" not in problem.message


def test_a_long_line_without_end_is_one_problem() -> None:
    (problem,) = read(padded(MAX_EVENT_BYTES * 3))
    assert isinstance(problem, Problem)
    assert problem.where == "line 1"


def test_a_line_that_never_ends_is_not_held() -> None:
    adapter = NdjsonAdapter(part=False)
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(200):
            assert adapter.feed(chunk) == []
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * MAX_EVENT_BYTES


def test_no_start_and_no_end_is_invented() -> None:
    assert read(HOST) == [HOST]


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"scanStarted"}',
        b'{"type":"scanCompleted"}',
        b'{"type":"reportFailed","report_id":"r","error":"e"}',
    ],
)
def test_a_part_leaves_out_what_opens_or_ends_the_scan(line: bytes) -> None:
    assert read(line + b"\n" + HOST, part=True) == [HOST]
    assert read(line + b"\n" + HOST) == [line, HOST]


def test_a_part_says_a_fatal_error_as_one_that_is_not_and_keeps_the_rest() -> None:
    (line,) = read(b'{"type":"error","message":"no route","hint":{"a":[1]},"ts":7}', part=True)
    assert isinstance(line, bytes)
    assert json.loads(line) == {
        "type": "error",
        "message": "no route",
        "hint": {"a": [1]},
        "ts": 7,
        "fatal": False,
    }


def test_a_part_leaves_a_non_fatal_error_as_it_came() -> None:
    line = b'{"type":"error", "message":"slow", "fatal":false}'
    assert read(line, part=True) == [line]


PIECES = st.sampled_from(
    [HOST, PORT, OTHER, b"\n", b"\n", b"\r\n", b"{", b"\xff", b"\xef\xbb\xbf", b" ", b"null"]
)


@given(st.lists(PIECES | st.binary(max_size=8), max_size=20), st.lists(st.integers(0, 400), max_size=6))
def test_cut_anywhere_it_reads_the_same_and_every_event_is_one(pieces: list[bytes], cuts: list[int]) -> None:
    document = b"".join(pieces)
    adapter = NdjsonAdapter(part=False)
    out: list[bytes | Problem] = []
    places = [0, *sorted(min(cut, len(document)) for cut in cuts), len(document)]
    for start, end in itertools.pairwise(places):
        out += adapter.feed(document[start:end])
    out += adapter.close()
    assert out == read(document)
    lines = [line.removesuffix(b"\r") for line in document.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    assert [line for line in out if isinstance(line, bytes)] == [line for line in lines if is_event(line)]


def is_event(line: bytes) -> bool:
    try:
        check_event(line)
    except EventRejected:
        return False
    return True
