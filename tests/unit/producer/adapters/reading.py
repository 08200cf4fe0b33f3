"""What the tests of adapters share: an input read whole or in pieces, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.event import Catalogue, check_event
from pipeline.producer.adapters import Adapter, Problem, open_adapter

RECORDINGS = Path(__file__).parent.parent / "recordings"
Out = list[bytes | Problem]


def recording(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def read_by(adapter: Adapter, document: bytes, chunk_bytes: int = 0) -> Out:
    out: Out = []
    step = chunk_bytes or len(document) or 1
    for start in range(0, len(document), step):
        out += adapter.feed(document[start : start + step])
    return out + adapter.close()


def read(name: str, document: bytes, chunk_bytes: int = 0, *, part: bool = False) -> Out:
    return read_by(open_adapter(name, part=part), document, chunk_bytes)


def events_of(out: Out) -> list[dict[str, object]]:
    """The events, decoded; each is one that the pipeline takes."""
    raws = [raw for raw in out if isinstance(raw, bytes)]
    for raw in raws:
        check_event(raw)
    return [json.loads(raw) for raw in raws]


def problems_of(out: Out) -> list[Problem]:
    return [one for one in out if isinstance(one, Problem)]


def of_type(out: Out, type_: str) -> list[dict[str, object]]:
    """The events of one type, without it."""
    return [
        {key: value for key, value in event.items() if key != "type"}
        for event in events_of(out)
        if event["type"] == type_
    ]


def terminals(out: Out) -> int:
    catalogue = Catalogue()
    return sum(catalogue.treatment(check_event(raw), raw).terminal for raw in out if isinstance(raw, bytes))
