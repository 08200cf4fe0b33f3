"""Which tool it is: told from the beginning, whatever pieces it comes in; refused with what is known."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import InputMalformed
from pipeline.producer.adapters import open_adapter
from pipeline.producer.adapters.detection import KNOWN, MAX_HEAD_BYTES, AutoAdapter, detect
from tests.unit.producer.adapters.reading import RECORDINGS, read, read_by, recording

NAMES = {
    **{path.name: "nmap" for path in RECORDINGS.glob("*.xml")},
    "masscan.ndjson": "masscan",
    "masscan.json": "masscan",
    "masscan.list": "masscan",
    "nuclei.jsonl": "nuclei",
    "naabu.jsonl": "naabu",
    "httpx.jsonl": "httpx",
    "zap.json": "zap",
}


@pytest.mark.parametrize("sample", NAMES)
@pytest.mark.parametrize("chunk_bytes", [0, 1, 1000])
def test_every_recording_is_known_for_what_it_is_and_read_whole(sample: str, chunk_bytes: int) -> None:
    told: list[str] = []
    adapter = AutoAdapter(part=False, told=told.append, open_=open_adapter)
    assert read_by(adapter, recording(sample), chunk_bytes) == read(NAMES[sample], recording(sample))
    assert told == [NAMES[sample]]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'{"type":"scanStarted"}\n', "ndjson"),
        (b'\xef\xbb\xbf\r\n {"type":"x","ip":"a","port":1}\n', "ndjson"),
        (b'{"requests":"1","total":"2","templates":"1"}\n', "nuclei"),
        (b'{"host":"a","port":80}\n', "naabu"),
        (b'[\n{"ip":"a","ports":[]},\n', "masscan"),
        (b'[{"ip":"a","ports":[]},\n', "masscan"),
        (b"banner tcp 80 10.0.0.5 7 http x\n", "masscan"),
        (b'{"@version":"2.15","site":[]}', "zap"),
        (b"<nmaprun start='1'>", "nmap"),
        (b'{"url":"http://a","status_code":200,"body":"' + b"x" * MAX_HEAD_BYTES, "httpx"),
    ],
)
def test_beginnings(head: bytes, name: str) -> None:
    assert detect(head[:MAX_HEAD_BYTES], complete=True) == name


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"<", b"<?xml version='1.0'?>\n<!DOC", b"{", b'{"template-id":"x"', b"[", b"open t"]
)
def test_too_little_waits_for_more(head: bytes) -> None:
    assert detect(head, complete=False) is None


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\n\n",
        b"Starting Nmap 7.93\n",
        b"<?xml version='1.0'?><html></html>",
        b"[1,2]\n",
        b'{"a":1}\n',
        b"null\n",
        b"\xff\xfe\x00",
        b"\x1f\x8b\x08\n",
        b'{"x":"' + b"x" * 2 * MAX_HEAD_BYTES,
        b"<" + b" " * 2 * MAX_HEAD_BYTES,
    ],
)
@pytest.mark.parametrize("chunk_bytes", [0, 1000])
def test_what_is_not_known_is_refused_with_what_is(document: bytes, chunk_bytes: int) -> None:
    adapter = AutoAdapter(part=False, told=lambda _: None, open_=open_adapter)
    with pytest.raises(InputMalformed) as refused:
        read_by(adapter, document, chunk_bytes)
    assert str(refused.value).startswith("cannot tell what this is: it begins with ")
    assert str(refused.value).endswith(f"known are {KNOWN}")
    assert len(str(refused.value)) < 500


def test_until_it_is_known_standard_error_is_for_a_person() -> None:
    adapter = AutoAdapter(part=True, told=lambda _: None, open_=open_adapter)
    assert adapter.aside(b'{"requests":"1","total":"2"}') is None
    adapter.feed(recording("nuclei.jsonl"))
    out = adapter.aside(b'{"requests":"1","total":"2"}')
    assert out
    assert isinstance(out[0], bytes)
    assert json.loads(out[0])["type"] == "scanProgress"
