"""What is composed of events: once for each kind of reader, and what each of these reads."""

from __future__ import annotations

import json

import pytest

from pipeline.edge.delivery import Delivery
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
