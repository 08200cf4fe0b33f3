from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.posted_body import (
    MAX_LINES,
    MAX_TOLD,
    BodyRefused,
    is_packed,
    media_type,
    owner_problem,
    read_body,
    unpack,
)
from pipeline.event import MAX_EVENT_BYTES

JSON = "application/json"
NDJSON = "application/x-ndjson"
HOST = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
PORT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open","scan_id":"demo"}'
OWN = '{"type":"own","text":"Größe ✓"}'.encode()


def events(body: bytes, named: str = NDJSON) -> list[bytes]:
    return read_body(body, named, "demo", 100).events


def refused(body: bytes, named: str = NDJSON, max_events: int = 100) -> BodyRefused:
    with pytest.raises(BodyRefused) as caught:
        read_body(body, named, "demo", max_events)
    return caught.value


# --- what is taken ------------------------------------------------------------------------------------

TAKEN = {
    "an object": (JSON, HOST, [HOST]),
    "an object, spaced": (JSON, b" \r\n" + HOST + b"\n", [HOST]),
    "an array": (JSON, b"[" + HOST + b" , " + PORT + b"]", [HOST, PORT]),
    "lines": (NDJSON, HOST + b"\n" + PORT + b"\n" + OWN, [HOST, PORT, OWN]),
    "a line without an end": (NDJSON, HOST, [HOST]),
    "CRLF": (NDJSON, HOST + b"\r\n" + PORT + b"\r\n", [HOST, PORT]),
    "blank lines": (NDJSON, b"\n \t\r\n" + HOST + b"\n\n\n" + PORT + b"\n\n", [HOST, PORT]),
    "a byte order mark before lines": (NDJSON, b"\xef\xbb\xbf" + HOST + b"\n" + PORT, [HOST, PORT]),
    "a byte order mark before an array": (JSON, b"\xef\xbb\xbf[" + HOST + b"]", [HOST]),
    "beyond ASCII": (JSON, OWN, [OWN]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str) -> None:
    named, body, wanted = TAKEN[name]
    assert events(body, named) == wanted


def test_an_event_over_several_lines_is_folded_onto_one() -> None:
    pretty = json.dumps([json.loads(HOST), json.loads(PORT)], indent=2).encode()
    assert events(pretty, JSON) == [HOST, PORT]
    assert events(json.dumps(json.loads(HOST), indent=2).encode(), JSON) == [HOST]


# --- what is refused: nothing of it is taken ----------------------------------------------------------

FAULTS = {
    "rubbish behind a good one": (NDJSON, HOST + b"\nrubbish\n", [(2, "json")]),
    "every bad line": (NDJSON, b"\n{}\n" + HOST + b'\n{"type":"x"', [(2, "schema"), (4, "json")]),
    "two on a line": (NDJSON, HOST + HOST, [(1, "json")]),
    "an array as a line": (NDJSON, b"[" + HOST + b"]", [(1, "schema")]),
    "an item": (JSON, b"[" + HOST + b",3]", [(2, "schema")]),
    "a field": (JSON, PORT.replace(b"443", b"70000"), [(1, "schema")]),
    "no UTF-8": (JSON, b'[{"type":"x","text":"\xff"}]', [(1, "utf8")]),
    "no UTF-8 in a line": (NDJSON, HOST + b'\n{"type":"x","text":"\xff"}', [(2, "utf8")]),
    "too large": (NDJSON, b'{"type":"x","t":"' + b"y" * MAX_EVENT_BYTES + b'"}', [(1, "too_large")]),
    "another scan": (NDJSON, b'{"type":"x","scan_id":"other"}', [(1, "bad_scan_id")]),
    "too deep": (NDJSON, b'{"type":"x","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", [(1, "json")]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_events_are_told_by_their_place(name: str) -> None:
    named, body, wanted = FAULTS[name]
    error = refused(body, named)
    assert (error.status, error.unit) == (400, "item" if named == JSON else "line")
    assert [(fault.number, fault.reason) for fault in error.faults] == wanted
    assert error.problem.startswith(f"{error.unit} {wanted[0][0]}: {wanted[0][1]}: ")


def test_so_many_bad_events_are_told() -> None:
    error = refused(b"x\n" * 50)
    assert [fault.number for fault in error.faults] == list(range(1, MAX_TOLD + 1))


WHOLE = {
    "nothing": (NDJSON, b"", 400, "holds no event"),
    "blank lines only": (NDJSON, b"\n\n\r\n", 400, "holds no event"),
    "an empty array": (JSON, b"[ ]", 400, "holds no event"),
    "spaces": (JSON, b"  ", 400, "holds no event"),
    "half an array": (JSON, b"[" + HOST, 400, "not JSON"),
    "behind an array": (JSON, b"[" + HOST + b"]]", 400, "not JSON"),
    "an array too deep": (JSON, b"[" * 100_000, 400, "nested too deeply"),
    "lines as JSON": (JSON, HOST + b"\n" + HOST, 400, "not JSON"),
    "too many events": (NDJSON, (HOST + b"\n") * 101, 413, "101 events exceed the limit of 100"),
    "too many lines": (NDJSON, b"\n" * MAX_LINES, 413, f"{MAX_LINES + 1} lines exceed"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_refused_whole(name: str) -> None:
    named, body, status, problem = WHOLE[name]
    error = refused(body, named)
    assert (error.status, problem in error.problem) == (status, True), error.problem


@pytest.mark.parametrize("named", [JSON, NDJSON])
def test_cut_off_at_every_byte(named: str) -> None:
    """What is left is a beginning of the events, each whole, or it is refused."""
    all_ = [HOST, PORT, OWN]
    body = b"[" + b",".join(all_) + b"]" if named == JSON else b"\n".join(all_)
    for size in range(len(body)):
        try:
            found = events(body[:size], named)
        except BodyRefused:
            pass
        else:
            assert named == NDJSON
            assert found == all_[: len(found)]
            assert size in {len(b"\n".join(all_[:count])) + more for count in (1, 2) for more in (0, 1)}


@given(body=st.binary(max_size=200), named=st.sampled_from([JSON, NDJSON]))
def test_rubbish_is_refused(body: bytes, named: str) -> None:
    with pytest.raises(BodyRefused):
        events(body, named)


# --- headers, gzip ------------------------------------------------------------------------------------


def test_media_types() -> None:
    assert media_type("Application/JSON; charset=utf-8") == JSON
    assert media_type("application/x-ndjson") == NDJSON
    for simple in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        with pytest.raises(BodyRefused, match=r"application/x-ndjson") as caught:
            media_type(simple)
        assert caught.value.status == 415, "a form can send this"


def test_content_encodings() -> None:
    assert [is_packed(name) for name in ("gzip", " GZIP ", "x-gzip", "", "identity")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    for other in ("br", "deflate", "gzip, gzip", "zstd"):
        with pytest.raises(BodyRefused) as caught:
            is_packed(other)
        assert caught.value.status == 415


def test_gzip() -> None:
    assert unpack(gzip.compress(HOST), 1_000) == HOST
    assert unpack(gzip.compress(b"x" * 1_000), 1_000) == b"x" * 1_000, "exactly the limit"


def test_gzip_cut_off_at_every_byte() -> None:
    packed = gzip.compress(HOST)
    for size in range(len(packed)):
        with pytest.raises(BodyRefused, match="gzip") as caught:
            unpack(packed[:size], 1_000)
        assert caught.value.status == 400


@pytest.mark.parametrize("behind", [b"x", gzip.compress(HOST)], ids=["rubbish", "another member"])
def test_gzip_with_something_behind(behind: bytes) -> None:
    with pytest.raises(BodyRefused, match=f"{len(behind)} bytes behind its end"):
        unpack(gzip.compress(HOST) + behind, 1_000)


def test_a_gzip_bomb() -> None:
    with pytest.raises(BodyRefused) as caught:
        unpack(gzip.compress(b" " * 50_000_000), 1_000)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("events", "begins", "allowed"),
    [
        ([b'{"type":"scanStarted","owner":"ada"}'], True, True),
        ([b'{"type":"scanStarted","owner":"ada"}', b'{"type":"x"}'], False, True),
        ([b'{"type":"x"}'], False, True),
        ([b'{"type":"x"}'], True, False),
        ([b'{"type":"scanStarted"}'], True, False),
        ([b'{"type":"scanStarted","owner":"bob"}'], False, False),
        ([b'{"type":"x"}', b'{"type":"scanStarted","owner":"bob"}'], False, False),
        ([], True, True),
    ],
)
def test_whoever_begins_a_scan_says_that_it_is_theirs(
    events: list[bytes], begins: bool, allowed: bool
) -> None:
    assert (owner_problem(events, "ada", begins=begins) is None) is allowed
