"""All channels of an emitter: what it counts, hears, is refused, keeps in a spool, and when it is fenced."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pipeline.errors import OperatorError
from pipeline.outboxes import MAX_REJECTED_KEPT, Outboxes, Rejected
from pipeline.spool import acked_record, event_record, header_record, pack, read_spool
from pipeline.wire import Ack, EnvelopeHeader, Feedback, Nack, Retry, Wait, decode_envelope, encode_envelope

A, B = "scan/a", "scan/b"


class Bytes:
    """A spool in memory."""

    def __init__(self) -> None:
        self.data = header_record("p", 7)
        self.full = False
        self.crowded = False

    def add(self, channel: str, number: int, raw: bytes) -> None:
        if self.full:
            raise OperatorError("full")
        self.data += event_record(channel, number, raw)

    def acked(self, channel: str, committed: int) -> None:
        self.data += acked_record(channel, committed)

    def wants_packing(self, unacked_bytes: int) -> bool:
        return self.crowded

    def pack(self, pid: str, inc: int, channels: Iterable[tuple[str, int, Iterable[bytes]]]) -> None:
        self.data = pack(pid, inc, channels)

    def restored(self) -> Outboxes:
        found = read_spool(self.data)
        assert found is not None
        return Outboxes.restored(found)


def ack(channel: str, committed: int) -> Feedback:
    return Feedback(acks=[Ack("p", 7, channel, committed)])


def filled(spool: Bytes | None = None) -> Outboxes:
    """Three events of one channel, one of another."""
    outboxes = Outboxes("p", 7)
    outboxes.spool = spool
    assert [
        outboxes.add(A, b"1"),
        outboxes.add(B, b"22"),
        outboxes.add(A, b"333"),
        outboxes.add(A, b"4"),
    ] == [
        1,
        1,
        2,
        3,
    ]
    return outboxes


def send_all(outboxes: Outboxes) -> list[tuple[str, int, int, int, list[bytes]]]:
    """Send everything; return (channel, incarnation, pseq, una, events) of each message."""
    sent = []
    for box in outboxes:
        while (message := box.next_message(0.0)) is not None:
            header, events = message
            box.sent(events, 0.0)
            sent.append((header.channel, header.inc, header.pseq, header.una, events))
    return sent


def test_it_counts_what_is_not_acked() -> None:
    outboxes = filled()
    assert (outboxes.unacked, outboxes.size_bytes) == (4, 7)
    outboxes.hear(ack(A, 2), 0.0)
    outboxes.hear(ack("scan/other", 2), 0.0)
    assert (outboxes.unacked, outboxes.size_bytes) == (2, 3)
    outboxes.hear(ack(A, 2), 0.0)
    outboxes.hear(Feedback(acks=[Ack("p", 7, A, 3), Ack("p", 7, B, 1)]), 0.0)
    assert (outboxes.unacked, outboxes.size_bytes) == (0, 0)


def test_a_retry_goes_to_its_channel() -> None:
    outboxes = filled()
    assert len(send_all(outboxes)) == 2
    outboxes.hear(Feedback(retries=[Retry("p", 7, A, 1, "gap"), Retry("p", 7, "scan/other", 1, "gap")]), 0.0)
    assert send_all(outboxes) == [(A, 7, 1, 1, [b"1", b"333", b"4"])]


def test_what_is_refused_is_told_once_and_the_ack_covers_it() -> None:
    outboxes = filled()
    nack = Nack("p", 7, B, 1, "json", "not JSON")
    outboxes.hear(Feedback(nacks=[nack], acks=[Ack("p", 7, B, 1)]), 0.0)
    assert outboxes.take_rejected() == [Rejected(B, 1, "json", "not JSON")]
    assert outboxes.take_rejected() == []
    assert outboxes.unacked == 3
    outboxes.hear(Feedback(nacks=[nack, Nack("p", 7, A, 99, "json", "never sent")]), 0.0)
    assert outboxes.take_rejected() == []


def test_refusals_are_kept_up_to_a_bound() -> None:
    outboxes = Outboxes("p", 7)
    numbers = [outboxes.add(A, b"{}") for _ in range(MAX_REJECTED_KEPT + 5)]
    outboxes.hear(Feedback(nacks=[Nack("p", 7, A, number, "json", "") for number in numbers]), 0.0)
    rejected = outboxes.take_rejected()
    assert (len(rejected), rejected[0].pseq) == (MAX_REJECTED_KEPT, 6)


def test_a_fence_is_no_refusal_of_an_event() -> None:
    outboxes = filled()
    outboxes.hear(Feedback(nacks=[Nack("p", 7, A, 1, "fenced", "a later process")]), 0.0)
    assert outboxes.take_rejected() == []
    assert outboxes.fenced == (
        "producer p is fenced, scan/a: a later process; 4 events are not acknowledged, and never will be"
    )


def test_an_ack_for_what_was_never_sent_is_a_fence() -> None:
    outboxes = filled()
    outboxes.hear(ack(A, 4), 0.0)
    assert "event 4 is acknowledged, but 3 is the last one sent" in outboxes.fenced
    assert outboxes.unacked == 4


def test_what_a_spool_holds_goes_on_with_the_same_numbers() -> None:
    spool = Bytes()
    outboxes = filled(spool)
    outboxes.hear(Feedback(acks=[Ack("p", 7, A, 1), Ack("p", 7, B, 1)]), 0.0)
    again = spool.restored()
    assert (again.pid, again.inc, again.unacked, again.size_bytes) == ("p", 7, 2, 4)
    assert send_all(again) == [(A, 7, 2, 2, [b"333", b"4"])]
    assert (again.add(A, b"5"), again.add(B, b"6"), again.add("scan/c", b"7")) == (4, 2, 1)


def test_packed_it_is_the_same() -> None:
    spool = Bytes()
    outboxes = filled(spool)
    send_all(outboxes)
    spool.crowded = True
    outboxes.hear(ack(A, 2), 0.0)
    assert spool.data == pack("p", 7, [(A, 3, [b"4"]), (B, 1, [b"22"])])
    outboxes.hear(Feedback(acks=[Ack("p", 7, A, 3), Ack("p", 7, B, 1)]), 0.0)
    assert spool.data == pack("p", 7, [(A, 4, []), (B, 2, [])])


def test_what_cannot_be_spooled_is_not_numbered() -> None:
    spool = Bytes()
    outboxes = filled(spool)
    spool.full = True
    for channel in (A, "scan/new"):
        with pytest.raises(OperatorError):
            outboxes.add(channel, b"x")
    spool.full = False
    assert (outboxes.unacked, outboxes.add(A, b"y"), outboxes.add("scan/new", b"z")) == (4, 4, 1)
    assert send_all(spool.restored()) == [
        (A, 7, 1, 1, [b"1", b"333", b"4", b"y"]),
        (B, 7, 1, 1, [b"22"]),
        ("scan/new", 7, 1, 1, [b"z"]),
    ]


def test_only_what_is_not_acked_is_busy() -> None:
    outboxes = filled()
    assert [box.channel for box in outboxes.busy()] == [A, B]
    outboxes.hear(ack(B, 1), 0.0)
    assert [box.channel for box in outboxes.busy()] == [A]
    assert [box.channel for box in outboxes] == [A, B], "but nothing is forgotten"
    outboxes.add(B, b"5")
    outboxes.hear(ack(A, 2), 0.0)
    assert [box.channel for box in outboxes.busy()] == [A, B]
    assert outboxes.may_send(B)


def test_what_was_dropped_is_told_in_its_channel() -> None:
    outboxes = Outboxes("p", 7)
    for channel in (A, B, A):
        outboxes.drop(channel)
    outboxes.tell_dropped()
    outboxes.tell_dropped()
    assert {box.channel: list(box.unacked()) for box in outboxes} == {
        A: [b'{"type":"lost","count":2,"reason":"emitter_full"}'],
        B: [b'{"type":"lost","count":1,"reason":"emitter_full"}'],
    }


def test_what_cannot_be_told_is_kept_to_be_told() -> None:
    spool = Bytes()
    outboxes = Outboxes("p", 7)
    outboxes.spool = spool
    outboxes.drop(A)
    spool.full = True
    with pytest.raises(OperatorError):
        outboxes.tell_dropped()
    spool.full = False
    outboxes.tell_dropped()
    assert outboxes.unacked == 1


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([], ""),
        (["gap"], ""),
        (["full"], "takes no more for now than readers can be given: max_pending_bytes"),
        (["full", "max_channels"], "can open no further channel: max_channels"),
        (
            ["full", "rate"],
            "takes no more a second of this producer: quotas.events_per_s, quotas.bytes_per_s",
        ),
        (
            ["rate", "quota"],
            "has as many scans of this producer open as it may: quotas.max_open_scans, new_scans_per_hour",
        ),
    ],
)
def test_what_holds_it_up_is_told_until_an_ack(reasons: list[str], told: str) -> None:
    outboxes = filled()
    for channel, reason in zip((A, B), reasons, strict=False):
        outboxes.hear(Feedback(retries=[Retry("p", 7, channel, 1, reason)]), 0.0)
    assert outboxes.held_up == told
    for box in outboxes.busy():
        box.sent(box.next_message(9.0)[1], 9.0)
        outboxes.hear(ack(box.channel, 1), 9.0)
    assert outboxes.held_up == ""


def test_what_is_held_back_waits_as_long_as_is_asked_for_its_channel_alone() -> None:
    outboxes = filled()
    for box in outboxes.busy():
        box.sent(box.next_message(0.0)[1], 0.0)
    retries = [Retry("p", 7, channel, 1, "rate") for channel in (A, B)]
    outboxes.hear(Feedback(retries=retries, waits=[Wait("p", 7, B, 2.0)]), 10.0)
    assert {box.channel: box.next_deadline() for box in outboxes.busy()} == {A: 10.05, B: 12.0}


def test_each_channel_is_told_that_its_producer_lives() -> None:
    outboxes = filled()
    outboxes.hear(ack(A, 2), 0.0)
    signs = outboxes.signs("alive")
    assert signs == [
        EnvelopeHeader(A, "p", 7, 4, 3, sign="alive"),
        EnvelopeHeader(B, "p", 7, 2, 1, sign="alive"),
    ]
    for header in signs:
        assert decode_envelope(encode_envelope(header, [])).header == header
    assert [header.sign for header in outboxes.signs("bye")] == ["bye", "bye"]


def signs(outboxes: Outboxes) -> list[tuple[str, str]]:
    return [(header.channel, header.sign) for header in outboxes.signs("alive")]


END = b'{"type":"scanCompleted"}'


def test_a_channel_whose_end_is_acked_is_left_once() -> None:
    outboxes = filled()
    outboxes.add(A, END)
    assert signs(outboxes) == [(A, "alive"), (B, "alive")], "the end is not acked"
    outboxes.hear(ack(A, 3), 0.0)
    assert signs(outboxes) == [(A, "alive"), (B, "alive")]
    outboxes.hear(ack(A, 4), 0.0)
    assert signs(outboxes) == [(A, "bye"), (B, "alive")]
    assert signs(outboxes) == [(B, "alive")]
    outboxes.add(A, b'{"type":"scanStarted"}')
    assert signs(outboxes) == [(A, "alive"), (B, "alive")], "it goes on"
    outboxes.hear(ack(A, 5), 0.0)
    outboxes.add(A, END)
    outboxes.hear(ack(A, 6), 0.0)
    assert [(header.channel, header.sign) for header in outboxes.signs("bye")] == [(A, "bye"), (B, "bye")]
    assert outboxes.signs("bye") == []


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (END, True),
        (b'{"type":"error","message":"m","fatal":false}', False),
        (b'{"type":"error"}', False),
        (b'{"type":"note","text":"scanCompleted"}', False),
        (b"scanCompleted", False),
    ],
)
def test_what_ends_nothing_leaves_nothing(raw: bytes, refused: bool) -> None:
    outboxes = Outboxes("p", 7)
    outboxes.add(A, raw)
    nacks = [Nack("p", 7, A, 1, "schema", "")] if refused else []
    outboxes.hear(Feedback(nacks=nacks, acks=[Ack("p", 7, A, 1)]), 0.0)
    assert signs(outboxes) == [(A, "alive")]
