"""What is composed of events: once for each kind of reader, and what each of these reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.delivery import Delivery, join
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from pipeline.errors import MessageMalformed
from pipeline.wire import FrameHeader, FrameMessage
from tests.unit.edge.worker_model import text_payloads


def test_a_delivery_is_composed_once_for_all_of_a_variant() -> None:
    shared = Delivery("scan/a", 1, 1, 3, b'[{"type":"x"},{"type":"y"},{"type":"z"}]')
    for variant in (NATIVE, HEROFORGE, Variant("sse"), Variant("sse", chunked=True)):
        assert shared.encoded(variant) is shared.encoded(Variant(variant.wire, variant.chunked))
    assert shared.encoded(NATIVE) != shared.encoded(HEROFORGE)


def test_the_native_wire() -> None:
    message = FrameMessage(
        "scan/a",
        FrameHeader(7, 4, 7, merged=2, at=(0, 3)),
        b'[{"type":"a","t":"\xc3\xa9"},{"type":"b"}]',
    )
    (payload,) = text_payloads(Delivery.of_frame(message).encoded(NATIVE).data)
    assert json.loads(payload) == {
        "type": "batch",
        "scan_id": "a",
        "epoch": 7,
        "seq": [4, 7],
        "merged": 2,
        "filtered": 0,
        "at": [0, 3],
        "events": [{"type": "a", "t": "é"}, {"type": "b"}],
    }


def test_heroforges_wire_is_each_event_as_its_producer_sent_it() -> None:
    message = FrameMessage("scan/a", FrameHeader(7, 4, 5), b'[{"type":"a" , "n":1.50},{"type":"b"}]')
    data, count = Delivery.of_frame(message).encoded(HEROFORGE)
    assert count == 2
    assert text_payloads(data) == [b'{"type":"a" , "n":1.50}', b'{"type":"b"}']


def test_a_body_that_is_no_array_is_an_error_of_the_peer() -> None:
    broken = Delivery.of_frame(FrameMessage("scan/a", FrameHeader(1, 1, 1), b"[{"))
    with pytest.raises(MessageMalformed, match="events"):
        broken.encoded(HEROFORGE)


def live(
    first: int,
    events: list[bytes],
    *,
    at: tuple[int, ...] = (),
    state: tuple[tuple[int, str], ...] = (),
    critical: bool = False,
) -> Delivery:
    last = first + (at[-1] if at else len(events) - 1)
    merged = last - first + 1 - len(events)
    return Delivery(
        "scan/a", 7, first, last, b"[" + b",".join(events) + b"]", merged, at, critical=critical, state=state
    )


def test_joining_keeps_facts_and_the_latest_of_each_state() -> None:
    parts = [
        live(4, [b'"a"', b'"p1"', b'"q1"'], state=((1, "p"), (2, "q"))),
        live(7, [b'"p2"', b'"b"', b'"p4"'], at=(0, 1, 3), state=((0, "p"), (2, "p"))),
        live(11, [b'"c"'], critical=True),
    ]
    joined = join(parts)
    assert (joined.channel, joined.epoch, joined.first, joined.last) == ("scan/a", 7, 4, 11)
    assert json.loads(joined.body) == ["a", "q1", "b", "p4", "c"]
    assert joined.at == (0, 2, 4, 6, 7)
    assert joined.merged == 3
    assert joined.critical
    assert not joined.terminal
    assert sorted(joined.state) == [(1, "q"), (3, "p")]


def test_joined_deliveries_can_be_joined_again() -> None:
    parts = [live(seq, [b"%d" % seq], state=((0, "p"),)) for seq in range(1, 9)]
    twice = join([join(parts[:4]), join(parts[4:])])
    assert (twice.body, twice.merged, twice.at) == (b"[8]", 7, (7,))


def test_joining_without_state_merges_nothing_and_one_stays_itself() -> None:
    parts = [live(1, [b"1", b"2"]), live(3, [b"3"])]
    joined = join(parts)
    assert (joined.body, joined.merged, joined.at, joined.state) == (b"[1,2,3]", 0, (), ())
    assert join(parts[:1]) is parts[0]


@given(
    st.lists(st.lists(st.sampled_from(["fact", "p", "q"]), min_size=1, max_size=5), min_size=1, max_size=6)
)
def test_whatever_is_joined_every_fact_and_the_last_of_each_state_is_there(kinds: list[list[str]]) -> None:
    parts, flat, first = [], [], 1
    for frame in kinds:
        events = [b"%d" % (first + index) for index in range(len(frame))]
        state = tuple((index, kind) for index, kind in enumerate(frame) if kind != "fact")
        parts.append(live(first, events, state=state))
        flat += frame
        first += len(frame)
    joined = join(parts)
    given_ = json.loads(joined.body)
    if len(parts) > 1:
        last = {kind: seq for seq, kind in enumerate(flat, 1)}
        assert given_ == [seq for seq, kind in enumerate(flat, 1) if kind == "fact" or last[kind] == seq]
    assert len(given_) + joined.merged == joined.last - joined.first + 1
    if joined.merged:
        assert [joined.first + offset for offset in joined.at] == given_
