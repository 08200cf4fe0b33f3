"""An event as its JSON."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import PortFound, check_event
from pipeline.event_json import encode_event


def test_an_event_is_one_line_without_its_defaults() -> None:
    event = PortFound(ip="1", port=1, protocol="TCP", state="Open")
    assert encode_event(event) == b'{"type":"portFound","ip":"1","port":1,"protocol":"TCP","state":"Open"}'
    assert encode_event({"type": "mine", "text": "a\nb"}) == b'{"type":"mine","text":"a\\nb"}'


ENDLESS: dict[str, object] = {"type": "mine"}
ENDLESS["itself"] = ENDLESS


@pytest.mark.parametrize(
    "event",
    [{"type": "mine", "x": object()}, {"type": "mine", "x": "\ud800"}, {"type": "mine", (1, 2): 1}, ENDLESS],
    ids=["object", "surrogate", "key", "endless"],
)
def test_what_json_cannot_say_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(EventRejected) as caught:
        encode_event(event)
    assert caught.value.reason is RejectReason.SCHEMA
    assert caught.value.message


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({3}, [3]),
        (Decimal("1.5"), "1.5"),
        (2**70, 2**70),
        ({1: "a"}, {"1": "a"}),
        (float("nan"), None),
        ("ü\u2028", "ü\u2028"),
    ],
    ids=["set", "decimal", "large", "key", "nan", "text"],
)
def test_what_programs_hold_is_spelled_by_one_encoder_or_the_other(value: object, said: object) -> None:
    composed = encode_event({"type": "mine", "x": value})
    assert msgspec.json.decode(composed) == {"type": "mine", "x": said}
    assert b"\n" not in composed
    assert check_event(composed)
