from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import (
    DEFAULT_CATALOGUE,
    FACT,
    MAX_EVENT_BYTES,
    Catalogue,
    CatalogueEntry,
    Event,
    EventClass,
    KnownEvent,
    Treatment,
    UnknownEvent,
    check_event,
    check_scan_id,
    event_type,
    is_scan_id,
    read_event,
)
from pipeline.event_json import encode_event

KNOWN = {kind.__struct_config__.tag: kind for kind in get_args(KnownEvent)}

# One event of each type, with every field it knows, as HeroForge sends it.
FULL: dict[str, dict[str, object]] = {
    "scanStarted": {
        "timestamp": "2025-01-01T00:00:00Z",
        "name": "office",
        "targets": ["10.0.0.0/24"],
        "labels": {"site": "x"},
        "owner": "o",
        "shared_with": ["p"],
    },
    "phaseStarted": {"phase": "discovery", "progress": 5},
    "scanCompleted": {"duration": 12.5, "total_hosts": 3},
    "error": {"message": "m", "fatal": False},
    "hostDiscovered": {"ip": "10.0.0.5", "hostname": "db"},
    "portFound": {"ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"},
    "serviceDetected": {"ip": "10.0.0.5", "port": 443, "service_name": "https", "version": "1"},
    "vulnerabilityFound": {"ip": "10.0.0.5", "severity": "High", "title": "t", "cve_id": "CVE-2025-1"},
    "enumerationStarted": {"ip": "10.0.0.5", "port": 80, "service_type": "http"},
    "enumerationFinding": {"ip": "10.0.0.5", "port": 80, "finding_type": "f", "value": "v"},
    "enumerationCompleted": {"ip": "10.0.0.5", "port": 80, "findings_count": 2},
    "dnsRecordFound": {"domain": "d", "record_type": "A", "value": "v"},
    "subdomainFound": {"subdomain": "s"},
    "scanProgress": {"phase": "p", "progress": 45.5, "message": "m"},
    "vpnConnecting": {"config_name": "c"},
    "vpnConnected": {"config_name": "c", "assigned_ip": "10.8.0.2"},
    "vpnDisconnecting": {"config_name": "c"},
    "vpnDisconnected": {"config_name": "c"},
    "vpnError": {"config_name": "c", "message": "m"},
    "reportStarted": {"report_id": "r", "name": "n", "format": "pdf"},
    "reportPhase": {"report_id": "r", "phase": "p", "progress": 0.5, "message": "m"},
    "screenshotCaptured": {"report_id": "r", "url": "u", "index": 1, "total": 2},
    "reportCompleted": {"report_id": "r", "file_path": "/x", "file_size": 1},
    "reportFailed": {"report_id": "r", "error": "e"},
    "scanStalled": {"silent_s": 60.0},
    "scanResumed": {"silent_s": 60.0},
    "scanOrphaned": {"message": "m"},
    "lost": {"count": 3, "reason": "pending_full"},
}
CRITICAL = {"scanStarted", "phaseStarted", "scanCompleted", "error", "vpnError"}
CRITICAL |= {"reportStarted", "reportCompleted", "reportFailed", "scanStalled", "scanResumed", "scanOrphaned"}
TERMINAL = {"scanCompleted", "error", "reportCompleted", "reportFailed"}
STATE_KEYS = {"scanProgress": "phase", "reportPhase": "report_id"}


def raw(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


# --- what is taken ------------------------------------------------------------------------------------


def test_the_catalogue_the_types_and_this_table_agree() -> None:
    assert set(KNOWN) == set(DEFAULT_CATALOGUE) == set(FULL)


@pytest.mark.parametrize("kind", FULL)
def test_every_known_type_is_taken_and_written_back(kind: str) -> None:
    event = check_event(raw(kind, **FULL[kind], scan_id="s", ts=1.5))
    assert type(event) is KNOWN[kind]
    assert event_type(event) == kind
    assert (event.scan_id, event.ts) == ("s", 1.5)
    for field, value in FULL[kind].items():
        assert getattr(event, field) == value
    assert set(FULL[kind]) | {"scan_id", "ts"} == {
        field.name for field in msgspec.structs.fields(type(event))
    }
    assert check_event(encode_event(event)) == read_event(encode_event(event)) == event


@pytest.mark.parametrize("kind", FULL)
def test_what_a_type_does_not_need_may_be_missing_or_null(kind: str) -> None:
    fields = msgspec.structs.fields(KNOWN[kind])
    needed = {field.name: FULL[kind][field.name] for field in fields if field.required}
    event = check_event(raw(kind, **needed))
    assert check_event(encode_event(event)) == event
    optional = [field for field in fields if not field.required and field.name != "fatal"]
    assert check_event(raw(kind, **needed, **dict.fromkeys([field.name for field in optional]))) == event
    for name in needed:
        with pytest.raises(EventRejected, match=f"{kind}: .*`{name}`") as caught:
            check_event(raw(kind, **{key: value for key, value in needed.items() if key != name}))
        assert caught.value.reason is RejectReason.SCHEMA


@pytest.mark.parametrize("kind", FULL)
def test_a_known_field_of_another_type_is_refused(kind: str) -> None:
    for name in FULL[kind]:
        with pytest.raises(EventRejected, match=rf"\$\.{name}") as caught:
            check_event(raw(kind, **{**FULL[kind], name: {"no": 1}}))
        assert caught.value.reason is RejectReason.SCHEMA


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"mine"}',
        b'{"type":"mine","severity":7,"port":"x","progress":null,"deep":{"a":[1,{"b":null}]}}',
        b'  {"n":1, "type" : "mine"}\r\n',
        b'{"type":"PortFound"}',
        '{"type":"gefunden ✓","ort":"Köln"}'.encode(),
        b'{"type":"mine","n":' + b"9" * 5_000 + b"}",
        b'{"type":"mine","n":1e999}',
    ],
)
def test_an_unknown_type_passes(text: bytes) -> None:
    event = check_event(text)
    assert isinstance(event, UnknownEvent)
    assert read_event(text) == event


def test_unknown_fields_of_a_known_type_pass() -> None:
    event = check_event(raw("subdomainFound", subdomain="s", source={"tool": ["x"]}))
    assert event_type(event) == "subdomainFound"


@pytest.mark.parametrize("value", [0, -1, 101, 1e300, -0.5, 2**70])
def test_progress_is_any_number(value: float) -> None:
    assert check_event(raw("scanProgress", phase="p", progress=value)).progress == value


@pytest.mark.parametrize("ts", ["2025-01-01T00:00:00Z", 1735689600, 1735689600.25, "yesterday", None])
def test_the_producers_clock_is_text_or_a_number(ts: object) -> None:
    assert check_event(raw("scanStarted", ts=ts)).ts == ts


def test_the_largest_event() -> None:
    frame = len(raw("mine", pad=""))
    assert check_event(raw("mine", pad="." * (MAX_EVENT_BYTES - frame)))
    with pytest.raises(
        EventRejected, match="event of 65537 bytes exceeds the limit of 65536 bytes"
    ) as caught:
        check_event(raw("mine", pad="." * (MAX_EVENT_BYTES - frame + 1)))
    assert caught.value.reason is RejectReason.TOO_LARGE


# --- what is not --------------------------------------------------------------------------------------

BAD = {
    "nothing": (b"", "json", "not JSON"),
    "white space": (b" \n ", "json", "not JSON"),
    "no JSON": (b"portFound", "json", "not JSON"),
    "half an object": (b'{"type":"mine"', "json", "not JSON"),
    "rubbish behind": (b'{"type":"scanStarted"}x', "json", "trailing characters"),
    "two objects": (b'{"type":"mine"}{"type":"mine"}', "json", "trailing characters"),
    "a trailing comma": (b'{"type":"mine",}', "json", "trailing comma"),
    "single quotes": (b"{'type':'mine'}", "json", "not JSON"),
    "a raw control character": (b'{"type":"mine","a":"\x01"}', "json", "invalid character"),
    "a raw line break in a text": (b'{"type":"mine","a":"x\ny"}', "json", "invalid character"),
    "NaN": (b'{"type":"mine","a":NaN}', "json", "not JSON"),
    "a leading zero": (b'{"type":"mine","a":01}', "json", "invalid number"),
    "half a surrogate pair": (b'{"type":"mine","a":"\\ud800"}', "json", "not JSON"),
    "a byte order mark": (b'\xef\xbb\xbf{"type":"mine"}', "json", "not JSON"),
    "too deep": (b'{"type":"mine","a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "json", "nested too deeply"),
    "a known type too deep": (
        b'{"type":"scanStarted","a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "json",
        "nested too deeply",
    ),
    "no UTF-8": (b'{"type":"mine","a":"\xff"}', "utf8", "invalid UTF-8 at byte 20: 0xff"),
    "half a character": (b'{"type":"mine","a":"\xc3"}', "utf8", "invalid UTF-8 at byte 20: 0xc3"),
    "an overlong character": (b'{"type":"mine","a":"\xc0\xaf"}', "utf8", "invalid UTF-8 at byte 20: 0xc0"),
    "an encoded surrogate": (b'{"type":"mine","a":"\xed\xa0\x80"}', "utf8", "invalid UTF-8 at byte 20: 0xed"),
    "no UTF-8 in a key": (b'{"type":"mine","\xfe":1}', "utf8", "invalid UTF-8 at byte 16: 0xfe"),
    "an array": (b"[]", "schema", "Expected `object`, got `array`"),
    "a number": (b"1", "schema", "Expected `object`, got `int`"),
    "null": (b"null", "schema", "Expected `object`, got `null`"),
    "no type": (b'{"ip":"1"}', "schema", "missing required field `type`"),
    "a type that is no text": (b'{"type":7}', "schema", "Expected `str`, got `int`"),
    "an empty type": (b'{"type":""}', "schema", "the type is empty"),
    "a scan id that is no text": (b'{"type":"mine","scan_id":7}', "schema", "Expected `str | null`"),
    "a port beyond": (
        raw("portFound", ip="1", port=65_536, protocol="TCP", state="Open"),
        "schema",
        "portFound: Expected `int` <= 65535 - at `$.port`",
    ),
    "a port below": (
        raw("portFound", ip="1", port=-1, protocol="TCP", state="Open"),
        "schema",
        "portFound: Expected `int` >= 0 - at `$.port`",
    ),
    "a protocol in small letters": (
        raw("portFound", ip="1", port=1, protocol="tcp", state="Open"),
        "schema",
        "portFound: Invalid enum value 'tcp' - at `$.protocol`",
    ),
    "a severity nobody knows": (
        raw("vulnerabilityFound", ip="1", severity="Bad", title="t"),
        "schema",
        "vulnerabilityFound: Invalid enum value 'Bad' - at `$.severity`",
    ),
    "progress as text": (raw("scanProgress", phase="p", progress="40"), "schema", "$.progress"),
    "a number no float can hold": (
        b'{"type":"scanProgress","phase":"p","progress":1e999}',
        "schema",
        "out of range",
    ),
    "two types, the latter known": (b'{"type":"mine","type":"scanCompleted"}', "schema", "scanCompleted"),
    "two known types": (
        b'{"type":"hostDiscovered","ip":"1","type":"scanCompleted"}',
        "schema",
        "Invalid value 'scanCompleted'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_and_why(name: str) -> None:
    text, reason, message = BAD[name]
    for check in (check_event, read_event):
        if check is read_event and reason == "utf8":
            continue  # it is promised only for what was checked before
        with pytest.raises(EventRejected) as caught:
            check(text)
        assert caught.value.reason == reason
        assert message in caught.value.message


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    fields=st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=5), kind=st.text(min_size=1, max_size=8)
)
@settings(max_examples=100, deadline=None)
def test_any_object_with_an_unknown_type_passes(fields: dict[str, object], kind: str) -> None:
    if kind in DEFAULT_CATALOGUE or fields.keys() & {"type", "scan_id", "report_id", "ts"}:
        return
    for ascii_only in (False, True):
        text = json.dumps({**fields, "type": kind}, ensure_ascii=ascii_only).encode()
        assert event_type(check_event(text)) == kind


TOKENS = rb"""{"type":"mine" "a": " , { } [ ] : \ \u00e9 \ud83d\ude00 \u12 1 - . e5 0 true null """.split()
TOKENS += [
    b"NaN",
    b'"type"',
    b" ",
    b"\n",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xa9",
    b"\xe2\x9c\x93",
    b"\xed\xa0\x80",
]
NASTY = st.lists(st.sampled_from(TOKENS), max_size=14).map(b"".join)


@given(
    text=st.one_of(
        NASTY, NASTY.map(lambda middle: b'{"type":"mine","a":' + middle + b"}"), st.binary(max_size=40)
    )
)
@example(text=b'{"type":"mine","a":"\\ud800"}')
@settings(max_examples=400, deadline=None)
def test_what_is_taken_is_json_for_everybody(text: bytes) -> None:
    """A browser closes on text that is no UTF-8 and cannot read JSON that is none."""
    try:
        event = check_event(text)
    except EventRejected:
        return
    decoded = json.loads(text.decode("utf-8"), parse_constant=pytest.fail)
    assert decoded["type"] == event_type(event)


@pytest.mark.parametrize("text", [raw("portFound", **FULL["portFound"]), raw("mine", a=[1, "✓", None])])
def test_truncated_at_every_byte(text: bytes) -> None:
    for length in range(len(text)):
        with pytest.raises(EventRejected) as caught:
            check_event(text[:length])
        assert caught.value.reason in (RejectReason.JSON, RejectReason.UTF8)


# --- how it is treated --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL)
def test_the_default_treatment(kind: str) -> None:
    text = raw(kind, **{**FULL[kind], **({"fatal": True} if kind == "error" else {})})
    treatment = Catalogue().treatment(check_event(text), text)
    if kind in STATE_KEYS:
        assert treatment == Treatment(EventClass.STATE, f"{kind}:{FULL[kind][STATE_KEYS[kind]]}")
    elif kind in CRITICAL:
        assert treatment == Treatment(
            EventClass.CRITICAL, None, kind in TERMINAL, kind in ("scanStarted", "reportStarted")
        )
    else:
        assert treatment == Treatment(EventClass.FACT)


def treatment_of(catalogue: Catalogue, kind: str, **fields: object) -> Treatment:
    text = raw(kind, **fields)
    return catalogue.treatment(check_event(text), text)


def test_an_error_that_is_not_fatal_ends_nothing() -> None:
    catalogue = Catalogue()
    assert treatment_of(catalogue, "error", message="m") == Treatment(EventClass.CRITICAL, None, True)
    assert treatment_of(catalogue, "error", message="m", fatal=False) == Treatment(EventClass.CRITICAL)


def test_an_unknown_type_is_a_fact() -> None:
    assert treatment_of(Catalogue(), "mine") == Treatment(EventClass.FACT)


def test_what_the_operator_changed() -> None:
    catalogue = Catalogue(
        {
            "mine": CatalogueEntry(EventClass.STATE, "task"),
            "done": CatalogueEntry(EventClass.CRITICAL, None, True),
            "portFound": CatalogueEntry(EventClass.STATE, "ip"),
            "scanProgress": CatalogueEntry(EventClass.FACT),
        }
    )
    assert treatment_of(catalogue, "mine", task="a") == Treatment(EventClass.STATE, "mine:a")
    assert treatment_of(catalogue, "mine", task=7) == Treatment(EventClass.STATE, "mine:7")
    assert treatment_of(catalogue, "mine") == treatment_of(catalogue, "mine", other=1)
    assert treatment_of(catalogue, "done") == Treatment(EventClass.CRITICAL, None, True)
    assert treatment_of(catalogue, "portFound", **FULL["portFound"]).key == "portFound:10.0.0.5"
    assert treatment_of(catalogue, "scanProgress", phase="p", progress=1) == Treatment(EventClass.FACT)
    assert treatment_of(catalogue, "reportPhase", **FULL["reportPhase"]).key == "reportPhase:r"


@pytest.mark.parametrize(
    "catalogue",
    [
        Catalogue(),
        Catalogue({"mine": CatalogueEntry(EventClass.CRITICAL)}),
        Catalogue({"portFound": CatalogueEntry(EventClass.STATE, "ip")}),
        Catalogue({"scanProgress": CatalogueEntry(EventClass.FACT)}),
        Catalogue({"error": CatalogueEntry(EventClass.FACT)}),
    ],
)
def test_what_is_told_of_many_at_once_holds_for_each(catalogue: Catalogue) -> None:
    facts = 0
    for kind, fields in [*FULL.items(), ("mine", {})]:
        text = raw(kind, **fields)
        event = check_event(text)
        alike = catalogue.treatment(event, text) is FACT
        assert not catalogue.all_facts([event]) or alike
        facts += catalogue.all_facts([event])
        assert catalogue.all_facts([check_event(raw("hostDiscovered", ip="a")), event]) <= alike
    assert facts > 10, "it is of use only where most events are found to be facts"


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"mine","n":' + b"9" * 5_000 + b"}",
        b'{"type":"mine","task":' + b"9" * 5_000 + b"}",
        b'{"type":"mine","task":1e999}',
        b'{"type":"mine","a":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_a_key_that_cannot_be_read_harms_nobody(text: bytes) -> None:
    catalogue = Catalogue({"mine": CatalogueEntry(EventClass.STATE, "task")})
    assert catalogue.critical == {
        name for name, entry in DEFAULT_CATALOGUE.items() if entry.event_class is EventClass.CRITICAL
    }
    assert Catalogue({"mine": CatalogueEntry(EventClass.CRITICAL)}).critical == catalogue.critical | {"mine"}
    assert catalogue.treatment(check_event(text), text).event_class is EventClass.STATE


# --- writing, and ids ---------------------------------------------------------------------------------


def test_every_type_is_an_event() -> None:
    assert all(issubclass(kind, Event) for kind in KNOWN.values())


GOOD_IDS = ["a", "7", "_", "-x", "scan.2025-01-01", "A" * 64, "statistics", "Stats", "a..b", "a."]
BAD_IDS = [
    "",
    ".",
    ".a",
    "..",
    "stats",
    "A" * 65,
    "a/b",
    "a b",
    "a\n",
    "\na",
    "é",
    "a|b",
    "a%2e",
    "a\x00",
    "٣",
]


@pytest.mark.parametrize("text", GOOD_IDS)
def test_scan_ids(text: str) -> None:
    assert is_scan_id(text)
    assert check_scan_id(text) == text


@pytest.mark.parametrize("text", [*BAD_IDS, None, 7, b"a", "x" * 100_000])
def test_what_is_no_scan_id(text: object) -> None:
    assert not isinstance(text, str) or not is_scan_id(text)
    with pytest.raises(EventRejected, match="is no scan id: 1 to 64 of") as caught:
        check_scan_id(text)
    assert caught.value.reason is RejectReason.BAD_SCAN_ID
    assert len(caught.value.message) < 200


@given(text=st.text(max_size=70))
@settings(max_examples=200, deadline=None)
def test_a_scan_id_is_safe_in_a_path_a_topic_and_json(text: str) -> None:
    if is_scan_id(text):
        assert text.isascii()
        assert not set(text) & set("/|\\\"'%?# \n\0")
        assert 1 <= len(text) <= 64
