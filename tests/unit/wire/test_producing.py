"""Envelope, control and feedback; and what foreign producers send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import wire
from pipeline.errors import EventRejected, MessageMalformed
from pipeline.event import MAX_EVENT_BYTES, check_event
from pipeline.wire import (
    MAX_CONTROL_BYTES,
    MAX_ENVELOPE_EVENTS,
    Ack,
    Beacon,
    Envelope,
    EnvelopeHeader,
    Feedback,
    Hello,
    Nack,
    Retry,
    Wait,
    decode_envelope,
    decode_feedback,
    decode_ingest_message,
    decode_producer_message,
    encode,
    encode_beacon,
    encode_envelope,
    encode_feedback,
    split_foreign,
)
from tests.unit.wire.messages import (
    CHANNELS,
    EVENTS,
    NO_MESSAGES,
    Decoder,
    any_struct,
    check_bytes_replaced,
    check_rubbish_behind,
    check_truncated,
    check_understood_or_malformed,
    members,
)

DECODERS: dict[str, Decoder] = {
    "envelope": decode_envelope,
    "producer message": decode_producer_message,
    "ingest message": decode_ingest_message,
    "feedback": decode_feedback,
}
SAMPLES: list[tuple[str, bytes]] = [
    ("producer message", encode(Hello("pröd", 1))),
    ("producer message", encode(wire.StatsRequest(7))),
    ("ingest message", encode(wire.Welcome(1))),
    (
        "ingest message",
        encode(Feedback([Ack("p", 1, "scan/a", 5)], [], [Nack("p", 1, "scan/a", 6, "json", "m✓")])),
    ),
    ("feedback", encode_feedback(Feedback([Ack("p", 1, "scan/a", 5)], [Retry("p", 1, "scan/a", 6, "gap")]))),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(SAMPLES)]

# --- round trips --------------------------------------------------------------------------------------

OBJECTS = [
    *[(kind, encode, decode_producer_message) for kind in members(wire.ProducerMessage)],
    *[(kind, encode, decode_ingest_message) for kind in members(wire.IngestMessage)],
    (Feedback, encode_feedback, decode_feedback),
]


@pytest.mark.parametrize(
    ("kind", "write", "read"), OBJECTS, ids=[f"{kind.__name__}-{read.__name__}" for kind, _, read in OBJECTS]
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_message_is_read_as_it_was_written(kind, write, read, data: st.DataObject) -> None:
    message = data.draw(any_struct(kind))
    assert read(write(message)) == message


@given(
    channel=CHANNELS,
    events=EVENTS.filter(bool),
    pid=st.text(max_size=64),
    una=st.integers(1, 2**40),
    ahead=st.integers(0, 99),
    inc=st.integers(0, 2**53 - 1),
)
@settings(max_examples=50, deadline=None)
def test_an_envelope_is_read_as_it_was_written(
    channel: str, events: list[bytes], pid: str, una: int, ahead: int, inc: int
) -> None:
    rejected = ((1, "json"),) if pid and len(events) > 1 else ()
    header = EnvelopeHeader(channel, pid, inc, una + ahead, una, rejected)
    assert decode_envelope(encode_envelope(header, events)) == Envelope(header, events)


def test_an_envelope_of_rejected_numbers_only() -> None:
    header = EnvelopeHeader("scan/a", "p", 1, 5, 5, ((0, "json"), (1, "utf8")))
    assert decode_envelope(encode_envelope(header, [])) == Envelope(header, [])


def test_the_bytes_other_languages_read() -> None:
    """What docs/PROTOCOL.md promises: these may not change without a new version."""
    assert encode_envelope(EnvelopeHeader("scan/a", "p", 2, 5, 4), [b"{}", b"{}"]) == (
        b'\x01{"channel":"scan/a","pid":"p","inc":2,"pseq":5,"una":4}\n{}\n{}'
    )
    feedback = Feedback([Ack("p", 1, "scan/a", 5)], [Retry("p", 1, "scan/a", 6, "gap")])
    assert encode_feedback(feedback) == (
        b'A|{"type":"feedback","acks":[["p",1,"scan/a",5]],"retries":[["p",1,"scan/a",6,"gap"]]}'
    )
    held = Feedback(retries=[Retry("p", 1, "scan/a", 6, "rate")], waits=[Wait("p", 1, "scan/a", 2.5)])
    assert encode(held) == (
        b'{"type":"feedback","retries":[["p",1,"scan/a",6,"rate"]],"waits":[["p",1,"scan/a",2.5]]}'
    )
    assert encode(Hello("p", 1)) == b'{"type":"hello","pid":"p","inc":1,"version":1}'


# --- what is none -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_truncated_at_every_byte(name: str, message: bytes) -> None:
    check_truncated(DECODERS[name], message)


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_rubbish_behind(name: str, message: bytes) -> None:
    check_rubbish_behind(DECODERS[name], message)


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_every_byte_replaced(name: str, message: bytes) -> None:
    check_bytes_replaced(DECODERS[name], message)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("message", NO_MESSAGES, ids=range(len(NO_MESSAGES)))
def test_what_is_no_message_at_all(name: str, message: bytes) -> None:
    with pytest.raises(MessageMalformed):
        DECODERS[name](message)


@pytest.mark.parametrize("name", DECODERS)
@given(message=st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_understood_or_malformed(name: str, message: bytes) -> None:
    for start in (b"", b"\x01{", b"F|scan/a|{", b"A|{", b"H|{", b'{"type":"hello",'):
        check_understood_or_malformed(DECODERS[name], start + message)


def test_another_topic_is_not_taken_for_feedback() -> None:
    for message in (b"H" + encode_feedback(Feedback())[1:], encode_beacon(Beacon(0, 1, "h", "b"))):
        with pytest.raises(MessageMalformed):
            decode_feedback(message)


def test_a_long_question_is_not_even_read() -> None:
    with pytest.raises(
        MessageMalformed, match=f"of {MAX_CONTROL_BYTES + 1} bytes exceeds {MAX_CONTROL_BYTES} bytes"
    ):
        decode_producer_message(b" " * (MAX_CONTROL_BYTES + 1))


# --- envelopes ----------------------------------------------------------------------------------------

HEADER = EnvelopeHeader("scan/a", "p", 1, 3, 2, ((1, "json"),))
ENVELOPE = encode_envelope(HEADER, [b'{"type":"x"}', '{"type":"✓"}'.encode()])


def every_event(message: bytes) -> None:
    """What ingest makes of an envelope: taken apart, then each event checked."""
    for raw in decode_envelope(message).events:
        check_event(raw)


def test_an_envelope_truncated_at_every_byte() -> None:
    """Cut where an event ends it is an envelope of fewer; elsewhere it is refused, whole or by the event."""
    for length in range(len(ENVELOPE)):
        message = ENVELOPE[:length]
        if message.endswith(b'{"type":"x"}'):
            assert decode_envelope(message) == Envelope(HEADER, [b'{"type":"x"}'])
        else:
            with pytest.raises((MessageMalformed, EventRejected)):
                every_event(message)


@pytest.mark.parametrize("rubbish", [b"x", b"{}", b"\n", b"\n\n{}", b"\x00", b"\xff", b"\nrubbish"])
def test_an_envelope_with_rubbish_behind(rubbish: bytes) -> None:
    with pytest.raises(EventRejected):
        every_event(ENVELOPE + rubbish)


H = b'\x01{"channel":"scan/a","pid":"p","inc":1,"pseq":3,"una":2}\n'
ENVELOPES = {
    "empty": (b"", "not an envelope"),
    "the mark alone": (b"\x01", "not an envelope"),
    "no header line": (b"\x01{}", "not an envelope"),
    "another mark": (b"\x02" + H[1:] + b"{}", "not an envelope"),
    "no events": (H, "envelope of 0 events; 1 to 4096 are allowed"),
    "too many events": (H + b"\n".join([b"{}"] * 4_097), "envelope of 4097 events; 1 to 4096 are allowed"),
    "a header that is no JSON": (b"\x01{\n{}", "envelope header: "),
    "a header of another shape": (b"\x01[]\n{}", "envelope header: Expected `object`"),
    "no channel": (b'\x01{"pid":"p"}\n{}', "missing required field `channel`"),
    "a channel of no kind": (
        H.replace(b"scan/a", b"host/a") + b"{}",
        "'host/a' is no channel: scan/ID or report/ID",
    ),
    "a channel of a bad id": (H.replace(b"scan/a", b"scan/stats") + b"{}", "'scan/stats' is no channel"),
    "a channel that is no UTF-8": (
        H.replace(b"scan/a", b"scan/\xff") + b"{}",
        "envelope header: 'utf-8' codec",
    ),
    "a long pid": (
        H.replace(b'"p"', b'"%b"' % (b"p" * 65)) + b"{}",
        "pid of 65 characters exceeds the limit of 64",
    ),
    "pseq 0": (H.replace(b'"pseq":3', b'"pseq":0') + b"{}", "pseq 0 and una 2: 1 <= una <= pseq is needed"),
    "una 0": (H.replace(b'"una":2', b'"una":0') + b"{}", "pseq 3 and una 0"),
    "una ahead": (H.replace(b'"una":2', b'"una":4') + b"{}", "pseq 3 and una 4"),
    "pseq without end": (H.replace(b'"pseq":3', b'"pseq":9007199254740992') + b"{}", "pseq 9007199254740992"),
    "pseq below 0": (H.replace(b'"pseq":3', b'"pseq":-3') + b"{}", "pseq -3"),
    "inc without end": (
        H.replace(b'"inc":1', b'"inc":9007199254740992') + b"{}",
        "inc 9007199254740992: 0 <= inc",
    ),
    "inc below 0": (H.replace(b'"inc":1', b'"inc":-1') + b"{}", "inc -1: 0 <= inc"),
    "numbers of 5000 digits": (H.replace(b'"inc":1', b'"inc":' + b"9" * 5_000) + b"{}", "envelope header: "),
    "rejected beyond": (
        H.replace(b'"una":2', b'"una":2,"rejected":[[2,"json"]]') + b"{}",
        "rejected: offsets must",
    ),
    "rejected below": (
        H.replace(b'"una":2', b'"una":2,"rejected":[[-1,"json"]]') + b"{}",
        "rejected: offsets must",
    ),
    "rejected of nobody": (
        b'\x01{"channel":"scan/a","rejected":[[0,"json"]]}\n{}',
        "rejected, own, digest: only a numbered producer has them",
    ),
    "rejected twice": (
        H.replace(b'"una":2', b'"una":2,"rejected":[[0,"json"],[0,"json"]]') + b"{}",
        "rejected: offsets must",
    ),
    "rejected back": (
        H.replace(b'"una":2', b'"una":2,"rejected":[[1,"json"],[0,"json"]]') + b"{}",
        "rejected: offsets must",
    ),
    "alive with an event": (H.replace(b'"una":2', b'"una":2,"sign":"alive"') + b"{}", "alive without events"),
    "bye of nobody": (b'\x01{"channel":"scan/a","sign":"bye"}\n{}', "sign bye: only a numbered producer's"),
    "a long digest": (
        H.replace(b'"una":2', b'"una":2,"digest":"' + b"d" * 65 + b'"') + b"{}",
        "digest of 65 characters exceeds the limit of 64",
    ),
    "digest of nobody": (
        b'\x01{"channel":"scan/a","digest":"d"}\n{}',
        "rejected, own, digest: only a numbered producer has them",
    ),
    "deep": (b'\x01{"channel":"scan/a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}\n{}", "envelope header: "),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_what_is_no_envelope(name: str) -> None:
    message, problem = ENVELOPES[name]
    with pytest.raises(MessageMalformed) as caught:
        decode_envelope(message)
    assert problem in str(caught.value)


def test_bye_may_come_with_events() -> None:
    header = EnvelopeHeader("scan/a", "p", 1, 1, 1, sign="bye", digest="d" * 64)
    assert decode_envelope(encode_envelope(header, [b"{}"])).header == header


def test_the_largest_envelope() -> None:
    assert len(decode_envelope(H + b"\n".join([b"{}"] * MAX_ENVELOPE_EVENTS)).events) == MAX_ENVELOPE_EVENTS


# --- foreign producers --------------------------------------------------------------------------------

A, B = b'{"type":"a","scan_id":"s"}', b'{"type":"b","scan_id":"s"}'
PRETTY = b'{\n  "type": "a",\r\n\t"scan_id": "s"\n}'
FOREIGN: dict[str, tuple[bytes, list[bytes]]] = {
    "one object": (A, [A]),
    "with white space around": (b" \r\n\t" + A + b"\n\n", [A]),
    "NDJSON": (A + b"\n" + B, [A, B]),
    "NDJSON with an end": (A + b"\n" + B + b"\n", [A, B]),
    "CRLF": (A + b"\r\n" + B + b"\r\n", [A, B]),
    "blank lines": (b"\n\n" + A + b"\n\n  \n\r\n" + B + b"\n\n", [A, B]),
    "indented lines": (b"  " + A + b"\n\t" + B, [A, B]),
    "pretty-printed": (PRETTY, [A]),
    "pretty-printed, with a line break in a text": (b'{\n"type":"a\\nb"\n}', [b'{"type":"a\\nb"}']),
    "a pretty-printed array is one thing": (b"[\n" + A + b",\n" + B + b"\n]", [b"[" + A + b"," + B + b"]"]),
    "rubbish stays, to be counted": (b"rubbish", [b"rubbish"]),
    "rubbish between": (A + b"\nrubbish\n" + B, [A, b"rubbish", B]),
    "half a line": (A + b"\n" + B[:9], [A, B[:9]]),
    "no UTF-8 in one line": (A + b'\n{"type":"\xff"}', [A, b'{"type":"\xff"}']),
    "two on a line are no NDJSON": (A + B, [A + B]),
    "nothing is one bad event": (b"", [b""]),
    "white space as well": (b" \r\n ", [b""]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_messages(name: str) -> None:
    message, events = FOREIGN[name]
    assert split_foreign(message) == events


def test_a_pretty_printed_object_beyond_the_limit_is_taken_by_lines() -> None:
    """It could only be refused: what is larger than an event is not parsed to find that out."""
    message = b'{\n"type":"a",\n"pad":"' + b"." * MAX_EVENT_BYTES + b'"\n}'
    assert len(split_foreign(message)) == 4


@pytest.mark.parametrize("depth", [500, 900, 950, 980, 990, 995, 1_000, 1_100, 30_000])
def test_nested_however_deep(depth: int) -> None:
    message = b'{"type":\n"a","x":' + b"[" * depth + b"]" * depth + b"}"
    parts = split_foreign(message)
    assert parts in ([message.replace(b"\n", b"")], message.split(b"\n"))


@given(
    events=EVENTS, ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]), min_size=8, max_size=8)
)
@settings(max_examples=50, deadline=None)
def test_ndjson_is_split_into_what_it_was_made_of(events: list[bytes], ends: list[bytes]) -> None:
    message = b"".join(raw + end for raw, end in zip(events, ends, strict=False))
    assert split_foreign(message) == (events or [b""])


@given(
    fields=st.dictionaries(
        st.text(max_size=5), st.one_of(st.text(max_size=9), st.integers(), st.none()), max_size=4
    ),
    indent=st.integers(0, 4),
)
@settings(max_examples=50, deadline=None)
def test_a_pretty_printed_object_is_one_line(fields: dict[str, object], indent: int) -> None:
    message = json.dumps(fields, indent=indent, ensure_ascii=False).encode()
    (event,) = split_foreign(message)
    assert b"\n" not in event
    assert json.loads(event) == fields


@given(message=st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_no_foreign_message_is_too_odd(message: bytes) -> None:
    for part in split_foreign(message):
        assert b"\n" not in part
