"""What becomes of a producer's message: good events go on, bad ones are named, whatever is beside them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import RejectReason
from pipeline.event import MAX_EVENT_BYTES
from pipeline.ingest.admission import Admission, Gate, Sender, admit
from pipeline.ingest.config import QuotasSection
from pipeline.ingest.ownership import PidOwners
from pipeline.ingest.quotas import Quotas
from pipeline.wire import (
    MAX_ENVELOPE_EVENTS,
    MAX_FOREIGN_EVENTS,
    MAX_MESSAGE_BYTES,
    Envelope,
    EnvelopeHeader,
    Nack,
    Retry,
    Wait,
    decode_envelope,
    encode_envelope,
)

GOOD = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
FOREIGN = b'{"type":"hostDiscovered","ip":"10.0.0.5","scan_id":"demo"}'
HEADER = EnvelopeHeader("scan/demo", "p1", 3, 5, 2)

BAD = {
    "not JSON": (b"{", RejectReason.JSON),
    "empty": (b"", RejectReason.JSON),
    "half an object": (GOOD[:-5], RejectReason.JSON),
    "two objects": (GOOD + GOOD, RejectReason.JSON),
    "not an object": (b"[1]", RejectReason.SCHEMA),
    "no type": (b'{"ip":"10.0.0.5"}', RejectReason.SCHEMA),
    "empty type": (b'{"type":""}', RejectReason.SCHEMA),
    "a field is missing": (b'{"type":"hostDiscovered"}', RejectReason.SCHEMA),
    "a field of another type": (b'{"type":"hostDiscovered","ip":5}', RejectReason.SCHEMA),
    "a port too many": (
        b'{"type":"portFound","ip":"a","port":65536,"protocol":"TCP","state":"Open"}',
        RejectReason.SCHEMA,
    ),
    "invalid UTF-8": (b'{"type":"x","a":"\xff"}', RejectReason.UTF8),
    "half a character": (b'{"type":"x","a":"\xe2\x82"}', RejectReason.UTF8),
    "nested too deeply": (b'{"type":"x","a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", RejectReason.JSON),
    "a byte too large": (
        b'{"type":"x","a":"' + b"." * (MAX_EVENT_BYTES - 18) + b'"}',
        RejectReason.TOO_LARGE,
    ),
}


def routed(admission: Admission) -> list[tuple[str, Envelope]]:
    """What goes on: each envelope decodes, and holds as many events as it is counted for."""
    envelopes = [(channel, decode_envelope(raw), count) for channel, raw, count in admission.routed]
    for channel, envelope, count in envelopes:
        assert envelope.header.channel == channel
        assert len(envelope.events) == count
    return [(channel, envelope) for channel, envelope, _ in envelopes]


def reasons(admission: Admission) -> list[RejectReason]:
    return [rejection.reason for rejection in admission.rejections]


# --- numbered producers -------------------------------------------------------------------------------


def test_a_good_envelope_goes_on_byte_for_byte() -> None:
    message = encode_envelope(HEADER, [GOOD, b' {"type" : "x"}'])
    assert admit(message) == Admission([("scan/demo", message, 2)], [], ("p1", 3, "scan/demo", 6))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_leaves_its_number_behind_and_is_nacked(name: str) -> None:
    bad, reason = BAD[name]
    admission = admit(encode_envelope(HEADER, [GOOD, bad, GOOD]))
    ((_, envelope),) = routed(admission)
    assert envelope.events == [GOOD, GOOD]
    assert envelope.header == EnvelopeHeader("scan/demo", "p1", 3, 5, 2, ((1, reason),))
    (rejection,) = admission.rejections
    assert rejection.nack == Nack("p1", 3, "scan/demo", 6, reason, rejection.message)
    assert rejection.message
    assert "\n" not in rejection.message


def test_what_was_rejected_before_keeps_its_number() -> None:
    header = EnvelopeHeader("scan/demo", "p1", 3, 5, 2, ((0, "json"), (3, "utf8")))
    admission = admit(encode_envelope(header, [GOOD, b"{", GOOD]))
    ((_, envelope),) = routed(admission)
    assert envelope.header.rejected == ((0, "json"), (2, "json"), (3, "utf8"))
    assert [nack.pseq for rejection in admission.rejections if (nack := rejection.nack)] == [7]


def test_all_else_that_its_header_says_stays() -> None:
    header = EnvelopeHeader("scan/a", "p", 1, 5, 5, (), own=True, sign="bye", digest="d")
    [(_, routed, _)] = admit(encode_envelope(header, [b"rubbish", b'{"type":"x"}'])).routed
    assert decode_envelope(routed).header == replace(header, rejected=((0, "json"),))


def test_an_envelope_of_nothing_but_rejected_events_still_goes_on() -> None:
    admission = admit(encode_envelope(HEADER, [b"{", b"["]))
    ((_, envelope),) = routed(admission)
    assert (envelope.events, [offset for offset, _ in envelope.header.rejected]) == ([], [0, 1])


@given(st.lists(st.sampled_from([GOOD, *(bad for bad, _ in BAD.values())]), min_size=1, max_size=30))
def test_every_number_is_either_an_event_or_a_rejection(events: list[bytes]) -> None:
    if events == [b""]:
        return  # an envelope of one empty line is an envelope of none
    admission = admit(encode_envelope(HEADER, events))
    ((_, envelope),) = routed(admission)
    assert envelope.events == [raw for raw in events if raw == GOOD]
    bad = [offset for offset, raw in enumerate(events) if raw != GOOD]
    assert [offset for offset, _ in envelope.header.rejected] == bad
    nacks = [rejection.nack for rejection in admission.rejections]
    assert [nack and nack.pseq for nack in nacks] == [5 + offset for offset in bad]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"channel":"scan/demo"',
        b'{"channel":5}',
        b'{"channel":"demo"}',
        b'{"channel":"scan/.."}',
        b'{"channel":"scan/stats"}',
        b'{"channel":"host/demo"}',
        b'{"channel":"scan/a","pid":"p","pseq":0,"una":0}',
        b'{"channel":"scan/a","pid":"p","pseq":1,"una":2}',
        b'{"channel":"scan/a","pid":"p","pseq":9007199254740992,"una":1}',
        b'{"channel":"scan/a","pid":"p","pseq":1,"una":1,"inc":-1}',
        b'{"channel":"scan/a","pid":"' + b"p" * 65 + b'","pseq":1,"una":1}',
        b'{"channel":"scan/a","pid":"p","pseq":1,"una":1,"rejected":[[2,"json"]]}',
        b'{"channel":"scan/a","pid":"p","pseq":1,"una":1,"rejected":[[1,"a"],[0,"b"]]}',
        b'{"channel":"scan/a","pid":"p","pseq":1,"una":1,"rejected":[[0,"a"],[0,"b"]]}',
        b'{"channel":"scan/a","rejected":[[7,"json"]]}',
        b'{"channel":"scan/a","rejected":[[0,"a"],[0,"b"]]}',
        b"\xff",
    ],
)
def test_an_envelope_that_makes_no_sense_is_rejected_whole(header: bytes) -> None:
    admission = admit(b"\x01" + header + b"\n" + GOOD)
    assert (admission.routed, reasons(admission)) == ([], [RejectReason.SCHEMA])


def test_an_envelope_holds_so_many_events_and_at_least_one() -> None:
    most = encode_envelope(HEADER, [b'{"type":"x"}'] * MAX_ENVELOPE_EVENTS)
    assert reasons(admit(most)) == []
    assert reasons(admit(most + b'\n{"type":"x"}')) == [RejectReason.SCHEMA]
    assert reasons(admit(encode_envelope(HEADER, []))) == [RejectReason.SCHEMA]


def test_an_envelope_without_a_producer_is_not_nacked() -> None:
    admission = admit(encode_envelope(EnvelopeHeader("scan/demo"), [GOOD, b"{"]))
    ((_, envelope),) = routed(admission)
    assert (envelope.events, envelope.header.rejected) == ([GOOD], ())
    assert [rejection.nack for rejection in admission.rejections] == [None]
    assert admit(encode_envelope(EnvelopeHeader("scan/demo"), [b"{"])).routed == []


# --- foreign producers --------------------------------------------------------------------------------


def test_one_object() -> None:
    assert routed(admit(FOREIGN)) == [("scan/demo", Envelope(EnvelopeHeader("scan/demo"), [FOREIGN]))]


def test_an_object_over_several_lines_is_folded() -> None:
    pretty = json.dumps(json.loads(FOREIGN), indent=2).encode()
    ((_, envelope),) = routed(admit(b"\n  " + pretty + b"\n\n"))
    assert [json.loads(raw) for raw in envelope.events] == [json.loads(FOREIGN)]
    assert b"\n" not in envelope.events[0]


def test_lines_go_to_the_channel_each_names_in_their_order() -> None:
    lines = [
        b'{"type":"x","n":%d,"%s":"%s"}' % (number, key, name)
        for number, (key, name) in enumerate(
            [(b"scan_id", b"a"), (b"scan_id", b"b"), (b"report_id", b"a"), (b"scan_id", b"a")]
        )
    ]
    admission = admit(b"\r\n".join([*lines, b"", b"   "]))
    assert {channel: envelope.events for channel, envelope in routed(admission)} == {
        "scan/a": [lines[0], lines[3]],
        "scan/b": [lines[1]],
        "report/a": [lines[2]],
    }
    assert admission.rejections == []


def test_a_report_event_of_a_scan_goes_to_the_scan() -> None:
    raw = b'{"type":"reportPhase","report_id":"r","phase":"p","progress":0.5,"scan_id":"a"}'
    assert [channel for channel, _ in routed(admit(raw))] == ["scan/a"]


@pytest.mark.parametrize("name", [name for name in BAD if name not in {"empty", "not an object"}])
def test_a_bad_line_is_rejected_and_its_neighbours_are_not(name: str) -> None:
    bad, reason = BAD[name]
    admission = admit(b"\n".join([FOREIGN, bad, FOREIGN]))
    assert [envelope.events for _, envelope in routed(admission)] == [[FOREIGN, FOREIGN]]
    assert [(rejection.reason, rejection.nack) for rejection in admission.rejections] == [(reason, None)]


@pytest.mark.parametrize(
    "scan_id", [None, "", ".", "..", "a/b", "stats", "a" * 65, "ä", "a b", "a|b", "a\\nb"]
)
def test_a_foreign_event_needs_a_scan_id(scan_id: str | None) -> None:
    raw = json.dumps({"type": "x"} if scan_id is None else {"type": "x", "scan_id": scan_id}).encode()
    assert reasons(admit(raw)) == [RejectReason.BAD_SCAN_ID]
    report = json.dumps({"type": "x", "report_id": scan_id or "."}).encode()
    assert reasons(admit(report)) == [RejectReason.BAD_SCAN_ID]


def test_more_lines_than_an_envelope_holds_are_several_envelopes() -> None:
    line = b'{"type":"x","scan_id":"a"}'
    envelopes = routed(admit(b"\n".join([line] * (MAX_ENVELOPE_EVENTS + 1))))
    assert [len(envelope.events) for _, envelope in envelopes] == [MAX_ENVELOPE_EVENTS, 1]


# --- neither ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", [b"", b" ", b"\n\n", b"\x00", b"[]", b"x", b"\xef\xbb\xbf{}", b"GET / HTTP/1.1"]
)
def test_what_is_no_message_is_json_that_cannot_be_read(message: bytes) -> None:
    admission = admit(message)
    assert (admission.routed, reasons(admission)) == ([], [RejectReason.JSON])


def test_a_message_is_at_most_a_mebibyte() -> None:
    wide = FOREIGN + b" " * 100
    lines = b"\n".join([wide] * (MAX_MESSAGE_BYTES // (len(wide) + 1)))
    whole = lines + b" " * (MAX_MESSAGE_BYTES - len(lines))
    assert admit(whole).rejections == []
    admission = admit(whole + b" ")
    assert (admission.routed, reasons(admission)) == ([], [RejectReason.TOO_LARGE])
    assert f"{MAX_MESSAGE_BYTES + 1} bytes" in admission.rejections[0].message


# --- whatever comes -----------------------------------------------------------------------------------

SEEDS = [
    FOREIGN,
    b"\n".join([FOREIGN, GOOD, FOREIGN]),
    encode_envelope(HEADER, [GOOD, GOOD]),
    b'{"type":"x","scan_id":"a","v":[1,-2.5e3,true,null,"\\u00e9\xc3\xa9\\"",{"k":[]}]}',
]


def check_admitted(message: bytes) -> None:
    """Nothing raises, and what goes on is JSON to any reader: an object of one line, in valid UTF-8."""
    admission = admit(message)
    for _, envelope in routed(admission):
        for raw in envelope.events:
            assert isinstance(json.loads(raw.decode()), dict)
            assert b"\n" not in raw
            assert len(raw) <= MAX_EVENT_BYTES
    assert admission.routed or admission.rejections


@pytest.mark.parametrize("seed", SEEDS)
def test_truncated_at_every_byte(seed: bytes) -> None:
    for cut in range(len(seed)):
        check_admitted(seed[:cut])


@given(st.sampled_from(SEEDS), st.binary(min_size=1, max_size=40))
def test_with_rubbish_behind(seed: bytes, rubbish: bytes) -> None:
    check_admitted(seed + rubbish)


@given(st.sampled_from(SEEDS), st.data())
def test_with_bytes_changed(seed: bytes, data: st.DataObject) -> None:
    message = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        message = message or bytearray(b" ")
    check_admitted(bytes(message))


@given(st.binary(max_size=200))
def test_with_nothing_but_rubbish(message: bytes) -> None:
    check_admitted(message)
    check_admitted(b"\x01" + message)
    check_admitted(b"{" + message)


def test_a_message_of_too_many_lines_is_rejected_whole() -> None:
    whole = b"\n".join([b"{}"] * MAX_FOREIGN_EVENTS)
    assert len(admit(whole).rejections) == MAX_FOREIGN_EVENTS
    (rejection,) = admit(whole + b"\n{}").rejections
    assert rejection.reason == "too_large"
    assert (
        f"{MAX_FOREIGN_EVENTS + 1} lines exceeds the limit of {MAX_FOREIGN_EVENTS} lines" in rejection.message
    )


# --- producers with keys ------------------------------------------------------------------------------

START = b'{"type":"scanStarted"}'


def ada(pids: PidOwners | None = None) -> Sender:
    return Sender("ada", PidOwners(10) if pids is None else pids)


@pytest.mark.parametrize("claimed", ["", "bob", "ada"])
def test_a_key_s_name_goes_on_with_its_events_whatever_the_producer_says(claimed: str) -> None:
    ((_, envelope),) = routed(admit(encode_envelope(replace(HEADER, by=claimed), [GOOD, GOOD]), ada()))
    assert envelope == Envelope(replace(HEADER, by="ada"), [GOOD, GOOD])


def test_a_start_names_its_key_as_owner_between_others() -> None:
    admission = admit(encode_envelope(HEADER, [GOOD, START, GOOD]), ada())
    ((_, envelope),) = routed(admission)
    assert [json.loads(raw) for raw in envelope.events] == [
        json.loads(GOOD),
        {"type": "scanStarted", "owner": "ada"},
        json.loads(GOOD),
    ]
    assert admission.last == ("p1", 3, "scan/demo", 7)


def test_a_start_of_somebody_else_is_nacked_and_leaves_its_number_behind() -> None:
    admission = admit(encode_envelope(HEADER, [b'{"type":"scanStarted","owner":"bob"}', GOOD]), ada())
    ((_, envelope),) = routed(admission)
    assert envelope == Envelope(replace(HEADER, by="ada", rejected=((0, "not_owner"),)), [GOOD])
    assert [(one.nack.pseq, one.reason) for one in admission.rejections if one.nack] == [(5, "not_owner")]


def test_a_key_that_may_name_owners_begins_scans_of_others_and_is_not_held_to_its_name() -> None:
    start = b'{"type":"scanStarted","owner":"bob"}'
    message = encode_envelope(replace(HEADER, by="ada"), [start])
    ((_, envelope),) = routed(admit(message, Sender("edge", PidOwners(10), names_owners=True)))
    assert envelope == Envelope(HEADER, [start])


def test_a_pid_of_another_key_is_refused_whole_and_nobody_is_nacked() -> None:
    pids = PidOwners(10)
    message = encode_envelope(HEADER, [GOOD])
    assert not admit(message, ada(pids)).rejections
    admission = admit(message, Sender("bob", pids))
    assert reasons(admission) == [RejectReason.PID_TAKEN]
    assert admission.routed == []
    assert admission.rejections[0].nack is None


def test_a_foreign_producer_s_events_carry_its_key_too() -> None:
    start = b'{"type":"scanStarted","scan_id":"demo"}'
    ((_, envelope),) = routed(admit(start + b"\n" + FOREIGN, ada()))
    assert envelope.header == EnvelopeHeader("scan/demo", by="ada")
    assert json.loads(envelope.events[0])["owner"] == "ada"
    assert envelope.events[1] == FOREIGN


# --- quotas -------------------------------------------------------------------------------------------


def gate(**limits: float) -> Gate:
    return Gate(Quotas(QuotasSection(burst_s=1, **limits), 10), 0.0)


def test_a_numbered_producer_beyond_its_rate_is_held_back_and_told_for_how_long() -> None:
    message, limited = encode_envelope(HEADER, [GOOD, b"{", GOOD]), gate(events_per_s=2)
    assert len(admit(message, gate=limited).routed) == 1
    admission = admit(message, gate=limited)
    assert (admission.routed, admission.rejections) == ([], [])
    assert admission.held == (
        Retry("p1", 3, "scan/demo", 5, "rate"),
        Wait("p1", 3, "scan/demo", pytest.approx(1.0, abs=1e-3)),
    )
    assert admit(message, gate=Gate(limited.quotas, 1.001)).routed


@pytest.mark.parametrize(
    "message", [FOREIGN, b"\n".join([FOREIGN] * 7), encode_envelope(EnvelopeHeader("scan/x"), [GOOD] * 7)]
)
def test_a_foreign_producer_beyond_its_rate_is_rejected_and_each_event_counted(message: bytes) -> None:
    limited = gate(events_per_s=1)
    assert admit(FOREIGN, gate=limited).routed
    admission = admit(message, gate=limited)
    assert (admission.routed, admission.held) == ([], None)
    assert [(one.reason, one.count, one.nack) for one in admission.rejections] == [
        (RejectReason.RATE, message.count(b"hostDiscovered"), None)
    ]


def test_a_scan_too_many_leaves_its_numbers_behind_and_each_is_nacked() -> None:
    limited = gate(max_open_scans=1)
    assert admit(encode_envelope(HEADER, [GOOD]), gate=limited).routed
    header = EnvelopeHeader("scan/more", "p1", 3, 1, 1, rejected=((1, "json"),), own=True)
    admission = admit(encode_envelope(header, [GOOD, GOOD]), gate=limited)
    ((channel, envelope),) = routed(admission)
    assert channel == "scan/more"
    assert envelope.events == []
    assert envelope.header == EnvelopeHeader(
        "scan/more", "p1", 3, 1, 1, rejected=((0, "quota"), (1, "json"), (2, "quota"))
    )
    assert [one.nack for one in admission.rejections] == [
        Nack(
            "p1",
            3,
            "scan/more",
            pseq,
            "quota",
            "1 of this producer's scans are open; quotas.max_open_scans is 1",
        )
        for pseq in (1, 3)
    ]
    assert admission.last == ("p1", 3, "scan/more", 3)


def test_a_scan_too_many_that_goes_on_is_held_back() -> None:
    limited = gate(max_open_scans=1)
    assert admit(encode_envelope(replace(HEADER, channel="scan/other"), [GOOD]), gate=limited).routed
    assert admit(encode_envelope(HEADER, [GOOD]), gate=limited).held == (
        Retry("p1", 3, "scan/demo", 5, "quota"),
        Wait("p1", 3, "scan/demo", 1.0),
    )


def test_of_foreign_events_only_those_of_a_scan_too_many_are_rejected() -> None:
    limited = gate(max_open_scans=1)
    other = FOREIGN.replace(b"demo", b"other")
    admission = admit(b"\n".join([FOREIGN, other, FOREIGN, other]), gate=limited)
    assert [(channel, len(envelope.events)) for channel, envelope in routed(admission)] == [("scan/demo", 2)]
    assert [(one.reason, one.count) for one in admission.rejections] == [(RejectReason.QUOTA, 2)]


def test_a_sign_of_life_too_many_is_left_out_and_nobody_told() -> None:
    limited = gate(events_per_s=1)
    sign = encode_envelope(replace(HEADER, sign="alive"), [])
    assert admit(sign, gate=limited).routed
    admission = admit(sign, gate=limited)
    assert admission == Admission(left_out=True)


def test_all_that_goes_by_a_key_has_one_quota_and_who_may_act_for_others_has_none() -> None:
    limited = gate(events_per_s=1)
    first, second = (encode_envelope(replace(HEADER, pid=pid), [GOOD]) for pid in ("p1", "p2"))
    assert admit(first, ada(), limited).routed
    assert admit(second, ada(), limited).held
    assert admit(FOREIGN, ada(), limited).rejections[0].reason is RejectReason.RATE
    assert admit(FOREIGN, Sender("bob", PidOwners(10)), limited).routed
    edge = Sender("edge", PidOwners(10), names_owners=True)
    assert all(admit(second, edge, limited).routed for _ in range(5))


def test_a_pid_of_another_key_costs_its_owner_nothing() -> None:
    pids, limited = PidOwners(10), gate(events_per_s=1)
    message = encode_envelope(HEADER, [GOOD])
    assert admit(message, ada(pids), limited).routed
    admission = admit(message, Sender("bob", pids), limited)
    assert (reasons(admission), admission.held) == ([RejectReason.PID_TAKEN], None)


def test_who_may_act_for_others_shares_its_pids_and_they_are_nobody_else_s() -> None:
    """Two edges that were given the same post send it by the same pid."""
    pids = PidOwners(10)
    message = encode_envelope(HEADER, [GOOD])
    for name in ("edge-0", "edge-1"):
        assert not admit(message, Sender(name, pids, names_owners=True)).rejections
    assert reasons(admit(message, Sender("bob", pids))) == [RejectReason.PID_TAKEN]
