"""`open_adapter`: every name it lists gives an adapter, and `part` means the same to each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import OperatorError
from pipeline.event import Catalogue, check_event
from pipeline.producer.adapters import ADAPTER_NAMES, open_adapter

RECORDINGS = Path(__file__).parent / "recordings"

WHOLE_SCANS = {
    "nmap": (RECORDINGS / "services.xml").read_bytes(),
    "ndjson": b'{"type":"scanStarted"}\n{"type":"hostDiscovered","ip":"::1"}\n{"type":"scanCompleted"}\n',
    "masscan": (RECORDINGS / "masscan.ndjson").read_bytes(),
    "nuclei": (RECORDINGS / "nuclei.jsonl").read_bytes(),
    "naabu": (RECORDINGS / "naabu.jsonl").read_bytes(),
    "httpx": (RECORDINGS / "httpx.jsonl").read_bytes(),
    "zap": (RECORDINGS / "zap.json").read_bytes(),
}
FAILED_SCANS = {
    "nmap": (RECORDINGS / "error.xml").read_bytes(),
    "ndjson": b'{"type":"scanStarted"}\n{"type":"error","message":"no route","x":1}\n',
    **{name: WHOLE_SCANS[name].rstrip()[:-1] for name in ("masscan", "nuclei", "naabu", "httpx", "zap")},
}


def types_of(name: str, document: bytes, *, part: bool) -> list[str]:
    adapter = open_adapter(name, part=part)
    return [
        json.loads(out)["type"] for out in adapter.feed(document) + adapter.close() if isinstance(out, bytes)
    ]


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(OperatorError, match=r"'csv' is no input format; there are ndjson, nmap, "):
        open_adapter("csv", part=False)


@pytest.mark.parametrize("name", ADAPTER_NAMES)
def test_a_whole_scan_is_opened_and_closed(name: str) -> None:
    types = types_of(name, WHOLE_SCANS[name], part=False)
    assert (types[0], types[-1]) == ("scanStarted", "scanCompleted")


@pytest.mark.parametrize("name", ADAPTER_NAMES)
def test_what_a_tool_says_to_a_person_is_nothing_to_its_adapter(name: str) -> None:
    assert open_adapter(name, part=False).aside(b"scanning \xff\x1b[2J") is None


@pytest.mark.parametrize("name", ADAPTER_NAMES)
def test_a_part_is_the_same_without_its_ends(name: str) -> None:
    whole = types_of(name, WHOLE_SCANS[name], part=False)
    assert types_of(name, WHOLE_SCANS[name], part=True) == whole[1:-1]


@pytest.mark.parametrize("name", ADAPTER_NAMES)
@pytest.mark.parametrize("part", [False, True])
def test_a_failure_ends_a_whole_scan_but_not_one_it_is_part_of(name: str, part: bool) -> None:
    adapter = open_adapter(name, part=part)
    last = (adapter.feed(FAILED_SCANS[name]) + adapter.close())[-1]
    assert isinstance(last, bytes)
    assert json.loads(last)["type"] == "error"
    assert Catalogue().treatment(check_event(last), last).terminal is not part
