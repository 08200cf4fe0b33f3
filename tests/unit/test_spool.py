"""The spool's format: what was written is read, cut at every byte, damaged, and packed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import MAX_EVENT_BYTES
from pipeline.spool import Spool, acked_record, event_record, header_record, pack, read_spool

A, B = "scan/a", "report/B.1"
RECORDS = [
    header_record("p", 7),
    event_record(A, 1, b'{"type":"one"}'),
    event_record(B, 1, b'{"type":"other","text":"\xc3\xa9"}'),
    event_record(A, 2, b'{"type":"two"}'),
    acked_record(A, 1),
    event_record(A, 3, b""),
    acked_record(B, 1),
]


def read(data: bytes) -> Spool:
    found = read_spool(data)
    assert found is not None
    return found


def left(found: Spool) -> dict[str, tuple[int, list[bytes]]]:
    return {channel: (unacked.una, unacked.events) for channel, unacked in found.channels.items()}


def test_the_bytes_are_those_told() -> None:
    assert RECORDS[0] == b'{"spool":1,"pid":"p","inc":7}\n'
    assert RECORDS[1] == b'E scan/a 1 14\n{"type":"one"}\n'
    assert RECORDS[4] == b"A scan/a 1\n"


def test_what_was_written_is_read() -> None:
    data = b"".join(RECORDS)
    found = read(data)
    assert (found.pid, found.inc, found.whole_bytes) == ("p", 7, len(data))
    assert left(found) == {A: (2, [b'{"type":"two"}', b""]), B: (2, [])}
    assert (found.channels[A].last, found.channels[B].last) == (3, 1)


def test_cut_at_every_byte_it_says_what_its_whole_records_say() -> None:
    data = b"".join(RECORDS)
    ends = [sum(map(len, RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for size in range(len(data)):
        whole = max(end for end in ends if end <= size)
        found = read_spool(data[:size])
        assert found == (read_spool(data[:whole]) if whole else None), size
        assert found is None or found.whole_bytes == whole


def test_an_ack_may_cover_more_or_less_than_is_there() -> None:
    header, one, _, two = RECORDS[:4]
    assert left(read(header + one + two + acked_record(A, 5))) == {A: (6, [])}
    assert left(read(header + acked_record(A, 5) + event_record(A, 6, b"x"))) == {A: (6, [b"x"])}
    assert left(read(header + acked_record(A, 5) + acked_record(A, 2))) == {A: (6, [])}


def test_a_number_given_twice_is_the_second_event_s() -> None:
    data = RECORDS[0] + event_record(A, 1, b"x") + event_record(A, 2, b"y") + event_record(A, 2, b"z")
    assert left(read(data)) == {A: (1, [b"x", b"z"])}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "it does not begin"),
        (b"hello\n", "it does not begin"),
        (b'{"type":"scanStarted"}\n', "it does not begin"),
        (b'{"spool":2,"pid":"p","inc":1}\n', "version 2; this version reads 1"),
        (RECORDS[0] + b"X scan/a 1\n", "byte 30: no record"),
        (RECORDS[0] + b"E scan/../a 1 1\nx\n", "byte 30: no record"),
        (RECORDS[0] + b"E scan/a 1 1\nxx\n", "byte 30: the event does not end"),
        (RECORDS[0] + b"E scan/a 1 %d\n" % (MAX_EVENT_BYTES + 1), "byte 30: the event does not end"),
        (RECORDS[0] + event_record(A, 2, b"x"), "byte 30: event 2 where 1 is due"),
        (RECORDS[0] + acked_record(A, 3) + event_record(A, 3, b"x"), "event 3 where 4 is due"),
    ],
)
def test_what_is_no_spool_or_damaged_says_where(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_spool(data)


events = st.lists(st.binary(max_size=20).filter(lambda raw: b"\n" not in raw), max_size=5)


@given(st.dictionaries(st.sampled_from([A, B, "scan/x_1"]), st.tuples(st.integers(1, 2**53), events)))
def test_packed_it_says_the_same(channels: dict[str, tuple[int, list[bytes]]]) -> None:
    data = pack("p", 7, [(channel, una, raws) for channel, (una, raws) in channels.items()])
    said = {channel: what for channel, what in channels.items() if what[0] > 1 or what[1]}
    assert left(read(data)) == said


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_holds_nothing(data: bytes) -> None:
    try:
        found = read_spool(data)
    except ValueError:
        return
    assert found is None
