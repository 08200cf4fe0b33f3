"""What a hook is sent."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.frame import Position
from pipeline.notify.messages import MAX_EVENT_BYTES, compose, compose_test, message_id
from pipeline.notify.rules import About

AT = Position(1_700_000_000_000, 7)


def body(event: bytes) -> dict[str, object]:
    raw = compose(
        "team", "completed", "office", AT, event, About("Office", ("10.0.0.0/8",), {"a": "b"}), 1_500
    )
    found = json.loads(raw)
    assert isinstance(found, dict)
    return found


def test_a_message() -> None:
    assert body(b'{"type":"scanCompleted","x":[1]}') == {
        "type": "scan.completed",
        "timestamp": "1970-01-01T00:00:01.500Z",
        "data": {
            "scan_id": "office",
            "hook": "team",
            "rule": "completed",
            "position": "1700000000000:7",
            "event": {"type": "scanCompleted", "x": [1]},
            "scan": {"name": "Office", "targets": ["10.0.0.0/8"], "labels": {"a": "b"}},
        },
    }


def test_an_event_of_the_largest_size_is_whole_and_a_larger_one_is_cut() -> None:
    frame = b'{"type":"custom","long":"%s"}'
    fits = frame % (b"x" * (MAX_EVENT_BYTES - len(frame) + 2))
    assert len(fits) == MAX_EVENT_BYTES
    whole = body(fits)["data"]
    assert isinstance(whole, dict)
    assert whole["event"] == json.loads(fits)
    assert "event_cut" not in whole
    more = b'{"n":1,"type":"custom","deep":{"a":"b"},"list":[1],"none":null,"long":"%s"}' % (
        b"x" * MAX_EVENT_BYTES
    )
    cut = body(more)["data"]
    assert isinstance(cut, dict)
    assert cut["event"] == {"type": "custom", "n": 1, "none": None, "long": "x" * 200}
    assert cut["event_cut"] is True


@given(
    st.dictionaries(
        st.text(),
        st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.lists(st.text()),
    )
)
def test_whatever_a_large_event_holds_its_message_is_small(fields: dict[str, object]) -> None:
    event = {**fields, "type": "custom", "filling": "\u20ac" * MAX_EVENT_BYTES}
    made = compose("h", "failed", "s", AT, json.dumps(event).encode(), About(), 0)
    assert len(made) < 60_000
    assert json.loads(made)["data"]["event"]["type"] == "custom"


def test_an_id_is_the_same_for_the_same_and_another_for_anything_else() -> None:
    same = ("team", "failed", "scan/office", AT)
    ids = {
        message_id(*same),
        message_id(*same),
        message_id("tea", *same[1:]),
        message_id("team", "stalled", *same[2:]),
        message_id("team", "failed", "scan/a.b", AT),
        message_id("team", "failed", "scan/office", Position(AT.epoch, 8)),
        message_id("team", "failed", "scan/office", Position(AT.epoch + 1, 7)),
    }
    assert len(ids) == 6
    assert all("." not in each and len(each) == 44 for each in ids)


def test_a_test_message() -> None:
    found = json.loads(compose_test("team", 0))
    assert (found["type"], found["data"]["hook"], found["data"]["rule"]) == ("test", "team", "test")
