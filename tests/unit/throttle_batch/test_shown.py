from __future__ import annotations

import json

import msgspec

from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.sections import StateSection, WatchdogSection
from pipeline.throttle_batch.shown import hosts_page, state_document, summary
from pipeline.wire import Document, HostsRequest, decode_history_reply
from tests.unit.throttle_batch.conftest import START, TERMINAL, Core, numbered, state

REFERENCE = [raw for _, raw in heroforge(3, "demo")]


def played(core: Core, *events: bytes, **changed: object) -> Channel:
    """A channel that was given events, a hundred a tenth of a second, from 1.0 s on."""
    rig = core.batcher(watchdog=WatchdogSection(), **changed)
    for at in range(0, len(events), 100):
        rig.at(1.0 + at / 1_000, numbered(at + 1, *events[at : at + 100]))
    return rig.batcher.current("scan/a")


def document(channel: Channel, now: float) -> dict[str, object]:
    return json.loads(msgspec.json.encode(state_document(channel, now)))


def page(channel: Channel, **asked: int) -> Document:
    reply = decode_history_reply(hosts_page(channel, HostsRequest(1, "scan/a", **asked)))
    assert isinstance(reply, Document)
    return reply


def test_a_line_of_a_list_is_what_the_state_says(core: Core) -> None:
    channel = played(core, *REFERENCE[:9_000])
    now = 1.0 + 9.0
    line = json.loads(msgspec.json.encode(summary(channel, now)))
    shown = document(channel, now)
    same = ["status", "phase", "progress", "finalising", "time_left", "events_per_s", "event_bytes", "totals"]
    same += ["name", "targets", "labels", "owner", "error", "counts", "best_effort"]
    assert {name: line[name] for name in same} == {name: shown[name] for name in same}
    assert (line["events"], line["frames"], line["merged"], line["elapsed_s"]) == (
        shown["event_count"],
        shown["message_count"],
        shown["merged_count"],
        shown["elapsed_time"],
    )
    assert line["event_bytes"] == sum(map(len, REFERENCE[:9_000]))
    assert line["delivered"] == line["seq"] - line["merged"]


def test_the_state_of_a_scan_that_has_just_begun(core: Core) -> None:
    shown = document(played(core, START), 3.5)
    assert shown["started_at"] == "1970-01-01T00:16:41.000Z", "the rig's clock"
    assert shown["last_event_at"] == "1970-01-01T00:16:41.000Z"
    assert (shown["elapsed_time"], shown["event_count"], shown["producers"]) == (2.5, 1, 1)
    assert (shown["status"], shown["phase"], shown["progress"], shown["phases"]) == (
        "running",
        None,
        None,
        [],
    )
    assert (shown["stalls_after_s"], shown["error"], shown["hosts"]) == (300.0, None, [])


def test_phases_and_what_is_left_of_the_time(core: Core) -> None:
    events = [state("p", number) for number in range(1, 41)]
    rig = core.batcher()
    for number, event in enumerate(events):
        rig.at(1.0 + number, numbered(number + 1, event))
    shown = document(rig.batcher.current("scan/a"), 40.0)
    assert shown["phases"] == [{"phase": "p", "started_s": 0.0, "percent": 40.0}]
    left = shown["time_left"]
    assert isinstance(left, dict)
    assert left == {"of": "phase", "seconds": 60.0, "low": 54.5, "high": 66.0}
    rig.at(41.0, numbered(41, TERMINAL))
    ended = document(rig.batcher.current("scan/a"), 50.0)
    assert (ended["time_left"], ended["events_per_s"], ended["progress"]) == (None, 0.0, 100.0)
    assert ended["phases"] == [{"phase": "p", "started_s": 0.0, "percent": 40.0, "left_s": 40.0}]
    assert ended["elapsed_time"] == 40.0


def test_only_the_first_hosts_are_in_the_state_and_the_others_in_pages(core: Core) -> None:
    hosts = [b'{"type":"hostDiscovered","ip":"h%d"}' % number for number in range(2_500)]
    channel = played(core, *hosts, state=StateSection(max_hosts=2_300))
    shown = document(channel, 10.0)
    assert isinstance(shown["hosts"], list)
    assert (len(shown["hosts"]), shown["hosts_next"], shown["hosts_left_out"]) == (1_000, 1_000, 200)
    assert shown["totals"]["hosts"] == 2_500
    seen = [host["ip"] for host in shown["hosts"]]
    following: int | None = 1_000
    while following is not None:
        reply = page(channel, after=following)
        assert (reply.header.total, reply.header.left_out, reply.header.seq) == (2_500, 200, 2_500)
        seen += [host["ip"] for host in json.loads(reply.body)]
        following = reply.header.next
    assert seen == [f"h{number}" for number in range(2_300)]


def test_a_page_is_bounded_whatever_is_asked(core: Core) -> None:
    hosts = [b'{"type":"hostDiscovered","ip":"h%d"}' % number for number in range(1_500)]
    channel = played(core, *hosts)
    assert len(json.loads(page(channel, limit=1 << 40).body)) == 1_000
    assert len(json.loads(page(channel, limit=-5).body)) == 1
    assert json.loads(page(channel, after=-5, limit=1).body)[0]["ip"] == "h0"
    assert page(channel, after=1 << 60).body == b"[]"


def test_a_state_is_of_bounded_size(core: Core) -> None:
    """The largest texts everywhere, and as many of everything as are shown."""
    text = b"\xc3\xa9" * 30_000
    events = [
        b'{"type":"scanStarted","name":"%b","targets":["%b"],"owner":"%b"}'
        % (text[:9_000], text[:9_000], text[:9_000]),
        *[b'{"type":"phaseStarted","phase":"%d%b"}' % (number, text) for number in range(70)],
        *[
            b'{"type":"vulnerabilityFound","ip":"h%d","severity":"High","title":"%d%b","cve_id":"%b"}'
            % (number, number, text[:30_000], text[:20_000])
            for number in range(300)
        ],
        b'{"type":"error","message":"%b"}' % text,
    ]
    rig = core.batcher(max_pending_bytes=1 << 30)
    for number, event in enumerate(events):
        rig.at(1.0 + number, numbered(number + 1, event))
    size = len(msgspec.json.encode(state_document(rig.batcher.current("scan/a"), 400.0)))
    assert size < 1_048_576
