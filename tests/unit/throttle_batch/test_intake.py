from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.wire import Ack, Envelope, Nack, Reached, Retry
from tests.unit.throttle_batch.conftest import (
    EPOCH,
    FACTS,
    START,
    TERMINAL,
    Core,
    check_ledger,
    critical,
    fact,
    foreign,
    numbered,
    state,
    taken,
)

# --- what is taken: a row of the module's table each --------------------------------------------------


def check_an_unknown_producer_starts_at_its_una(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(6, *FACTS[6:8], una=6))
    assert taken(rig) == FACTS[6:8]
    assert rig.acks == [Ack("p", 1, "scan/a", 7)]
    rig = core.batcher()
    rig.at(0.0, numbered(6, *FACTS[6:8], una=4))
    assert taken(rig) == []
    assert rig.retries == [Retry("p", 1, "scan/a", 4, "gap")]
    assert rig.acks == []
    assert rig.batcher.counters["jumped"] == 0


def check_an_older_incarnation_is_fenced(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, FACTS[1], inc=5))
    rig.at(0.01, numbered(2, FACTS[2], inc=4))
    assert taken(rig) == [FACTS[1]]
    assert [(nack.pseq, nack.inc, nack.reason) for nack in rig.nacks] == [(2, 4, "fenced")]
    assert rig.batcher.counters["rejected{reason=fenced}"] == 1
    rig.at(0.02, numbered(1, FACTS[3], inc=6))
    rig.at(0.03, numbered(2, FACTS[4], inc=5))
    assert taken(rig) == [FACTS[1], FACTS[3]]
    assert rig.acks[-1] == Ack("p", 6, "scan/a", 1)


def check_what_is_committed_is_acked_again(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, *FACTS[1:4]))
    rig.at(0.01, numbered(1, *FACTS[1:3]))
    assert taken(rig) == FACTS[1:4]
    assert rig.acks == [Ack("p", 1, "scan/a", 3)] * 2
    assert rig.batcher.counters["duplicates"] == 2


def check_what_is_taken_is_acked_with_the_commit(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, *FACTS[1:4]), numbered(1, *FACTS[1:4]), numbered(2, FACTS[2]))
    assert taken(rig) == FACTS[1:4]
    assert rig.acks == [Ack("p", 1, "scan/a", 3)]
    assert rig.batcher.counters["duplicates"] == 4


def check_a_una_beyond_our_state_is_jumped_to(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, FACTS[1]))
    rig.at(0.01, numbered(10, *FACTS[10:12], una=10))
    assert taken(rig) == [FACTS[1], *FACTS[10:12]]
    assert rig.acks[-1].committed == 11
    assert rig.batcher.counters["jumped"] == 8
    rig.at(0.02, numbered(15, FACTS[15], una=14))
    assert rig.retries == [Retry("p", 1, "scan/a", 14, "gap")]


def check_a_gap_is_asked_for_once(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, FACTS[1]))
    rig.at(0.010, numbered(3, FACTS[3]), numbered(4, FACTS[4]))
    rig.at(0.059, numbered(5, FACTS[5]))
    assert rig.retries == [Retry("p", 1, "scan/a", 2, "gap")]
    rig.at(0.061, numbered(6, FACTS[6]))
    assert rig.retries == [Retry("p", 1, "scan/a", 2, "gap")] * 2, "50 ms later once more"
    rig.at(0.062, numbered(2, FACTS[2]), numbered(4, FACTS[4]))
    assert rig.retries[2:] == [Retry("p", 1, "scan/a", 3, "gap")], "at once for another gap"
    rig.at(0.063, numbered(3, *FACTS[3:7]))
    assert taken(rig) == FACTS[1:7]
    assert rig.batcher.counters["not_taken{reason=gap}"] == 5


def check_of_an_overlap_the_new_is_taken(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, *FACTS[1:4]))
    rig.at(0.01, numbered(2, *FACTS[2:7]))
    assert taken(rig) == FACTS[1:7]
    assert rig.acks[-1].committed == 6


def check_a_tombstone_leaves_no_hole(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, FACTS[1], FACTS[3], rejected=((1, "json"), (3, "schema"))))
    assert taken(rig) == [FACTS[1], FACTS[3]]
    assert rig.acked() == 4
    rig.at(0.01, numbered(5, rejected=((0, "json"),)))
    rig.at(0.02, numbered(6, FACTS[6]))
    assert taken(rig) == [FACTS[1], FACTS[3], FACTS[6]]
    assert rig.acked() == 6
    assert rig.retries == []


def check_why_a_number_is_empty_is_told(core: Core) -> None:
    """With the ack, and again with it: the ingest that took the event out may not have lived to say so."""
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    big = [fact(number, 1_000) for number in range(5)]
    message = numbered(1, *big, rejected=((1, "json"), (6, "schema")))
    rig.at(0.0, message)
    said = "ingest has refused it"
    assert rig.nacks == [Nack("p", 1, "scan/a", 2, "json", said)], "number 7 is not taken yet"
    rig.at(0.3, message)
    assert [nack for nack in rig.nacks if nack.pseq == 7] == [Nack("p", 1, "scan/a", 7, "schema", said)]
    before = len(rig.nacks)
    rig.at(0.4, message)
    assert [nack.pseq for nack in rig.nacks[before:]] == [2, 7]
    assert rig.acks[-1].committed == 7
    assert rig.batcher.counters["rejected{reason=json}"] == 0, "ingest has counted it"


def check_what_is_no_event_counts_as_a_tombstone(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, b"{", FACTS[2], b'{"type":"portFound"}'))
    assert taken(rig) == [FACTS[2]]
    assert rig.acked() == 3
    assert rig.batcher.counters["rejected{reason=json}"] == 1
    assert rig.batcher.counters["rejected{reason=schema}"] == 1


def check_producers_and_channels_are_apart(core: Core) -> None:
    rig = core.batcher()
    rig.at(
        0.0, numbered(1, FACTS[1]), numbered(1, FACTS[2], pid="q"), numbered(1, FACTS[3], channel="scan/b")
    )
    rig.at(0.01, numbered(3, FACTS[9], pid="q"), numbered(2, FACTS[4]))
    assert taken(rig) == [FACTS[1], FACTS[2], FACTS[4]]
    assert taken(rig, "scan/b") == [FACTS[3]]
    assert [(retry.pid, retry.pseq) for retry in rig.retries] == [("q", 2)]


def check_a_second_terminal_is_refused(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, TERMINAL, FACTS[2], TERMINAL))
    rig.at(0.01, numbered(4, b'{"type":"error","message":"m"}', FACTS[5]))
    rig.at(0.02, numbered(6, b'{"type":"error","message":"m","fatal":false}'))
    assert [(nack.pseq, nack.reason) for nack in rig.nacks] == [(3, "after_terminal"), (4, "after_terminal")]
    assert len(taken(rig)) == 4, "what else comes is still delivered"
    assert rig.acked() == 6
    rig.at(0.03, foreign(TERMINAL))
    assert rig.batcher.counters["rejected{reason=after_terminal}"] == 3
    rig.until(1.0)
    check_ledger([frame for _, frame in rig.frames], taken(rig))


# --- bounds -------------------------------------------------------------------------------------------


def check_a_full_channel_takes_no_more_of_a_numbered_producer(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    big = [fact(number, 1_000) for number in range(10)]
    rig.at(0.0, numbered(1, *big[:6]))
    assert taken(rig) == big[:4]
    assert rig.acked() == 4
    assert rig.retries == [Retry("p", 1, "scan/a", 5, "full")]
    rig.at(0.01, numbered(5, *big[4:]))
    assert len(rig.retries) == 1, "one retry until something is taken, or 50 ms"
    rig.at(0.3, numbered(5, *big[4:8]))
    assert taken(rig) == big[:8]
    assert rig.batcher.counters["not_taken{reason=full}"] == 2
    rig.until(2.0)
    check_ledger([frame for _, frame in rig.frames], big[:8])


def check_what_a_foreign_producer_loses_is_told(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    big = [fact(number, 1_000) for number in range(7)]
    rig.at(0.0, foreign(*big))
    assert taken(rig) == big[:4]
    assert rig.batcher.counters["dropped{reason=pending_full}"] == 3
    rig.at(0.05, foreign(big[0]))
    rig.until(1.0)
    lost = b'{"type":"lost","count":4,"reason":"pending_full"}'
    assert taken(rig) == [*big[:4], lost], "told once, when there is room"
    assert rig.table == [(0.1, 1, 2, ""), (0.2, 3, 4, ""), (0.3, 5, 5, "")]
    assert rig.batcher.current("scan/a").best_effort
    rig.at(2.0, foreign(*big))
    rig.until(3.0)
    assert taken(rig)[-1] == lost.replace(b"4", b"3"), "and counted from nothing again"


def check_a_loss_is_told_though_nothing_else_comes(core: Core) -> None:
    """The commit empties the channel, so that no frame is due: it must wake up for this alone."""
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=4_000)
    rig.at(0.0, foreign(*[fact(number, 1_000) for number in range(5)], critical()))
    assert rig.table == [(0.0, 1, 4, ""), (0.0, 5, 5, "c")]
    rig.until(1.0)
    assert b'"lost"' in taken(rig)[-1]
    assert rig.frames[-1][0] <= 0.2
    assert rig.batcher.next_deadline() > 1_000


def check_a_critical_message_is_taken_although_full(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    rig.at(0.0, numbered(1, *[fact(number, 1_000) for number in range(4)]))
    rig.at(0.01, numbered(5, fact(5, 1_000), critical(6)))
    assert rig.acked() == 6
    assert rig.table == [(0.01, 1, 2, ""), (0.01, 3, 4, ""), (0.01, 5, 5, ""), (0.01, 6, 6, "c")]
    rig.at(1.0, foreign(*[fact(number, 1_000) for number in range(4)], critical(7)))
    assert rig.table[-1] == (1.0, 11, 11, "c")


def check_only_one_critical_message_goes_over_the_bound(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    batch = [fact(number, 1_000) for number in range(3)] + [critical(9)]
    for first in range(1, 40, 4):
        rig.batcher.receive(numbered(first, *batch), 0.0)
        assert rig.batcher.current("scan/a").waiting_bytes <= 4_000 + sum(map(len, batch))
    rig.at(0.0)
    assert rig.acked() == 8
    assert rig.retries == [Retry("p", 1, "scan/a", 9, "full")]
    rig.at(0.01, numbered(9, *batch))
    assert rig.acked() == 12, "which is flushed at once"


def check_the_limit_of_channels(core: Core) -> None:
    rig = core.batcher(max_channels=2)
    rig.at(0.0, numbered(1, FACTS[1]), foreign(FACTS[1], channel="scan/b"))
    rig.at(0.01, numbered(1, FACTS[2], channel="scan/c"), foreign(FACTS[2], channel="scan/d"))
    assert [(retry.channel, retry.reason) for retry in rig.retries] == [("scan/c", "max_channels")]
    assert rig.batcher.counters["dropped{reason=max_channels}"] == 1
    assert {channel.name for channel in rig.batcher.channels()} == {"scan/a", "scan/b"}
    rig.at(0.1, numbered(2, TERMINAL))
    rig.at(301.0, numbered(1, FACTS[2], channel="scan/c"))
    assert taken(rig, "scan/c") == [FACTS[2]], "cleanup makes room"


def check_the_limit_of_producers(core: Core) -> None:
    rig = core.batcher(max_producers=2)
    for pid in ("p", "q", "p", "r"):
        rig.at(0.0, numbered(1, FACTS[1], pid=pid))
    assert rig.batcher.counters["producers_forgotten"] == 1
    rig.at(0.01, numbered(1, FACTS[1], pid="p"), numbered(1, FACTS[1], pid="r"))
    assert len(taken(rig)) == 3, "the one unheard longest was forgotten"


def check_the_quota_of_a_producer(core: Core) -> None:
    rig = core.batcher(max_channels_per_producer=2)
    rig.at(0.0, *[numbered(1, FACTS[1], channel=f"scan/{name}") for name in "abc"])
    assert {channel.name for channel in rig.batcher.channels()} == {"scan/a", "scan/b"}
    told = "this producer has opened 2 channels; max_channels_per_producer is 2"
    assert rig.nacks == [Nack("p", 1, "scan/c", 1, "quota", told)]
    assert rig.acked("p", "scan/c") == 1, "so that its window moves on"
    assert rig.batcher.counters["rejected{reason=quota}"] == 1
    rig.at(0.01, numbered(2, TERMINAL), numbered(1, FACTS[1], channel="scan/c", pid="q"))
    rig.at(0.02, numbered(2, FACTS[2], channel="scan/c"), foreign(FACTS[1], channel="scan/d"))
    assert taken(rig, "scan/c") == [FACTS[1], FACTS[2]], "what others have opened is open to it"
    assert taken(rig, "scan/d") == [FACTS[1]], "and a foreign producer has no quota"
    rig.at(301.0, numbered(1, FACTS[1], channel="scan/e"))
    assert taken(rig, "scan/e") == [FACTS[1]], "cleanup makes room"
    rig.at(301.1, numbered(1, FACTS[1], channel="scan/f"))
    assert rig.nacks[-1].channel == "scan/f"


def check_the_quota_of_a_key(core: Core) -> None:
    """Whichever pids it goes by; and foreign producers with a key have one."""
    rig = core.batcher(max_channels_per_producer=2)

    rig.at(0.0, *[keyed("ada", numbered(1, FACTS[1], channel=f"scan/{pid}", pid=pid)) for pid in "abc"])
    rig.at(0.1, keyed("ada", foreign(FACTS[1], channel="scan/d")))
    assert {channel.name for channel in rig.batcher.channels()} == {"scan/a", "scan/b"}
    assert [(nack.pid, nack.reason) for nack in rig.nacks] == [("c", "quota")]
    assert rig.batcher.counters["rejected{reason=quota}"] == 2
    rig.at(0.2, keyed("bob", numbered(1, FACTS[1], channel="scan/c", pid="d")))
    rig.at(
        0.3,
        numbered(1, FACTS[1], channel="scan/d", pid="ada"),
        numbered(1, FACTS[1], channel="scan/e", pid="key ada"),
    )
    assert len(list(rig.batcher.channels())) == 5, "another key, and pids that look like one"


def check_the_limit_of_past_channels(core: Core) -> None:
    rig = core.batcher(max_past_channels=2)
    for number, name in enumerate("abc"):
        rig.at(float(number), foreign(TERMINAL, channel=f"scan/{name}"))
    rig.until(400.0)
    assert rig.batcher.past("scan/a") is None
    assert rig.batcher.past("scan/b").epoch == EPOCH + 1_000
    assert rig.batcher.counters["past_channels_forgotten"] == 1
    rig.at(400.0, foreign(FACTS[1], channel="scan/a"), foreign(FACTS[1], channel="scan/b"))
    assert rig.batcher.current("scan/a").epoch == EPOCH + 400_000, "a new life"
    assert rig.batcher.current("scan/b").epoch == EPOCH + 1_000


# --- who owns a scan ----------------------------------------------------------------------------------


def check_an_owned_scan_is_its_owners(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, FACTS[1], own=True), numbered(1, *FACTS[1:3], pid="q"))
    rig.at(0.1, foreign(*FACTS[1:4]), numbered(3, FACTS[3], own=True))
    rig.at(0.2, numbered(3, FACTS[3], pid="q", own=True))
    assert taken(rig) == [START, FACTS[1], FACTS[3]]
    assert rig.acked("q") == 3, "so that its window moves on"
    assert [(nack.pid, nack.pseq, nack.reason) for nack in rig.nacks] == [
        ("q", 1, "scan_owned"),
        ("q", 2, "scan_owned"),
        ("q", 3, "scan_owned"),
    ]
    assert rig.nacks[0].message == "scan/a belongs to producer p, until it ends"
    assert rig.batcher.counters["rejected{reason=scan_owned}"] == 6
    assert not rig.batcher.current("scan/a").best_effort


def check_a_scan_that_others_feed_is_not_claimed(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, START), foreign(FACTS[1], channel="scan/b"))
    rig.at(0.1, *[numbered(1, FACTS[2], pid="q", own=True, channel=f"scan/{name}") for name in "ab"])
    assert [(nack.channel, nack.reason) for nack in rig.nacks] == [
        ("scan/a", "scan_owned"),
        ("scan/b", "scan_owned"),
    ]
    assert rig.nacks[0].message == "scan/a is fed by others already, until it ends"
    rig.at(0.2, numbered(2, FACTS[3]))
    assert taken(rig) == [START, FACTS[3]]


def check_a_claim_ends_with_the_scan(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, own=True))
    rig.at(0.1, numbered(2, TERMINAL, own=True), numbered(1, FACTS[1], pid="q"))
    rig.at(0.2, numbered(2, TERMINAL, pid="q"))
    rig.at(0.3, numbered(3, START, FACTS[2], pid="q"), numbered(3, FACTS[3], own=True))
    assert [(nack.pid, nack.reason) for nack in rig.nacks] == [("q", "after_terminal"), ("p", "scan_owned")]
    assert taken(rig) == [START, FACTS[2]], "the next life is whose start it was, and nobody's"


def check_a_claim_outlives_a_restart(core: Core) -> None:
    """It is in the transaction of the first event; and in memory again with a life that was freed."""
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, own=True))
    assert rig.kept["scan/a", EPOCH].owner == "p"
    rig.restart(1.0)
    assert rig.batcher.uncommitted().checkpoints == []
    rig.at(1.0, numbered(1, FACTS[1], pid="q"), numbered(2, FACTS[2], own=True))
    assert [(nack.pid, nack.reason) for nack in rig.nacks] == [("q", "scan_owned")]
    assert rig.log["scan/a", EPOCH] == [START, FACTS[2]]
    rig.until(90_000.0)
    assert rig.batcher.channels() == []
    rig.at(90_000.0, numbered(2, FACTS[1], pid="q"))
    assert len(rig.nacks) == 2


def check_a_scan_takes_nothing_sent_with_another_key_than_its_owners(core: Core) -> None:
    """Who it was begun for stands in its state, and so outlives a restart; its next life is free."""
    rig = core.batcher()
    start = b'{"type":"scanStarted","owner":"ada"}'
    rig.at(0.0, keyed("ada", numbered(1, start)))
    rig.at(0.1, keyed("bob", numbered(1, *FACTS[1:3], pid="q")), keyed("bob", foreign(FACTS[1])))
    rig.restart(1.0)
    rig.at(1.0, keyed("bob", numbered(3, FACTS[3], pid="q")), keyed("ada", numbered(2, FACTS[2])))
    rig.at(1.1, numbered(1, FACTS[3], pid="edge"))
    assert rig.log["scan/a", EPOCH] == [start, FACTS[2], FACTS[3]], "one that may act for others has no `by`"
    assert [(nack.pid, nack.pseq, nack.reason) for nack in rig.nacks] == [
        ("q", 1, "scan_owned"),
        ("q", 2, "scan_owned"),
        ("q", 3, "scan_owned"),
    ]
    assert rig.nacks[0].message == "scan/a belongs to 'ada'; this was sent with the key of 'bob'"
    assert rig.acked("q") == 3
    rig.at(2.0, keyed("ada", numbered(3, TERMINAL)))
    rig.at(2.1, keyed("bob", numbered(4, FACTS[1], pid="q")))
    assert rig.nacks[-1].pseq == 4, "its end makes it nobody else's"
    begun = b'{"type":"scanStarted","owner":"bob"}'
    rig.at(2.2, keyed("bob", numbered(5, begun, FACTS[1], pid="q")))
    assert taken(rig) == [begun, FACTS[1]]


def check_whose_key_opens_a_scan_has_it_before_it_says_so(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, keyed("ada", numbered(1, FACTS[1])))
    begun = b'{"type":"scanStarted","owner":"bob","shared_with":["bob"]}'
    rig.at(1.1, keyed("bob", numbered(1, begun, pid="q")))
    assert [(nack.pid, nack.reason) for nack in rig.nacks] == [("q", "scan_owned")]
    rig.restart(1.2)
    rig.at(1.3, keyed("bob", numbered(2, begun, pid="q")))
    assert [(nack.pid, nack.reason) for nack in rig.nacks[1:]] == [("q", "scan_owned")] * (len(rig.nacks) - 1)
    begun = b'{"type":"scanStarted","owner":"ada","shared_with":["cy"]}'
    rig.at(1.4, keyed("ada", numbered(2, begun)))
    channel = rig.batcher.life("scan/a", 1_001_000)
    assert channel is not None
    assert (channel.state.about.owner, channel.state.about.shared_with) == ("ada", ("cy",))


def keyed(name: str, envelope: Envelope) -> Envelope:
    """The same, as ingest hands it on where producers have keys."""
    return Envelope(replace(envelope.header, by=name), envelope.events)


CHECKS = [
    check
    for name, check in sorted(globals().items())
    if name.startswith("check_") and check.__module__ == __name__
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_rule(core: Core, check) -> None:
    check(core)


# --- runs ---------------------------------------------------------------------------------------------


MESSAGE = st.tuples(
    st.sampled_from(["", "p", "q"]),  # whose
    st.sampled_from(["scan/a", "scan/b", "scan/c"]),
    st.booleans(),  # whether it claims the scan
    st.lists(
        st.one_of(
            st.sampled_from([None, b"{", TERMINAL, START, critical(1), state("x", 1), state("x", 2)]),
            st.builds(fact, st.integers(0, 9), st.sampled_from([0, 0, 500, 900])),
        ),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from([0.0, 0.0, 0.01, 0.1, 1.0, 400.0]),
)


@given(messages=st.lists(MESSAGE, max_size=30), limits=st.sampled_from([{}, {"max_channels": 2}]))
@settings(max_examples=100, deadline=None)
def test_what_is_taken_in_runs_is_what_is_taken_one_by_one(core: Core, messages: list, limits: dict) -> None:
    """The same messages, and their events one a message: but for a message that is taken whole for its
    critical event, for which there is room enough here."""
    bounds = {"max_pending_bytes": 100_000, "max_frame_bytes": 2_000, "max_batch_events": 5}
    together, apart = (core.batcher(max_channels_per_producer=2, **limits, **bounds) for _ in range(2))
    numbers: dict[tuple[str, str], int] = {}
    now = 0.0
    for pid, channel, own, events, gap in messages:
        now += gap
        first = numbers.get((pid, channel), 1)
        together.at(now, message_of(pid, channel, first, own, events))
        apart.at(
            now,
            *[message_of(pid, channel, first + offset, own, [raw]) for offset, raw in enumerate(events)],
        )
        numbers[pid, channel] = max(first, together.acked(pid, channel) + 1)
    for rig in (together, apart):
        rig.until(now + 10.0)
    assert together.log == apart.log
    assert together.durable == apart.durable
    assert together.frames == apart.frames
    assert sorted(together.nacks, key=repr) == sorted(apart.nacks, key=repr)
    each_time = ("not_taken", "rejected{reason=json}")  # counted of a message that is sent back, too
    counted = [
        {name: count for name, count in rig.batcher.counters.items() if not name.startswith(each_time)}
        for rig in (together, apart)
    ]
    assert counted[0] == counted[1]


def message_of(pid: str, channel: str, first: int, own: bool, events: list[bytes | None]) -> Envelope:
    present = [raw for raw in events if raw is not None]
    if not pid:
        return foreign(*present, channel=channel)
    rejected = tuple((offset, "json") for offset, raw in enumerate(events) if raw is None)
    return numbered(first, *present, pid=pid, channel=channel, rejected=rejected, own=own)


@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=12), room=st.integers(1_000, 6_000))
def test_of_a_run_that_does_not_fit_its_beginning_is_taken(core: Core, sizes: list[int], room: int) -> None:
    events = [fact(number % 10, size) for number, size in enumerate(sizes)]
    rig = core.batcher(max_pending_bytes=room, max_frame_bytes=1_000)
    rig.at(0.0, numbered(1, *events))
    total = fitting = 0
    for raw in events:
        total += len(raw)
        if total > room:
            break
        fitting += 1
    assert taken(rig) == events[:fitting]
    assert rig.acked() == fitting
    assert bool(rig.retries) == (fitting < len(events))


def test_a_nack_names_what_it_refuses(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, TERMINAL, TERMINAL))
    assert rig.nacks == [Nack("p", 1, "scan/a", 2, "after_terminal", "scan/a has already ended")]


# --- those that send once and go ----------------------------------------------------------------------


def post(first: int, *events: bytes, digest: str = "d", pid: str = "key") -> Envelope:
    return numbered(first, *events, una=first, pid=pid, inc=0, sign="bye", digest=digest)


def reached(seq: int, pid: str = "key") -> Reached:
    return Reached(pid, 0, "scan/a", EPOCH, seq, "d")


def test_one_that_says_bye_is_told_where_its_last_event_is(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, FACTS[1]), post(1, FACTS[2], FACTS[3]), numbered(2, FACTS[4]))
    assert rig.reached == [reached(3)], "and nobody else is"
    rig.at(0.1, post(1, FACTS[2], FACTS[3]))
    assert rig.reached == [reached(3)] * 2, "told again with the repeated ack"
    assert taken(rig) == FACTS[1:5]


def test_a_restart_forgets_neither_where_it_is_nor_its_digest(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, post(1, FACTS[1], FACTS[2]), post(1, FACTS[3], pid="other"))
    rig.restart(1.0)
    rig.at(1.1, post(1, FACTS[1], FACTS[2]))
    assert rig.reached[-1] == reached(2)
    rig.at(1.2, post(1, FACTS[5], digest="e"))
    assert rig.nacks[-1].reason == "key_reused"
    assert len(rig.log["scan/a", EPOCH]) == 3


def test_another_digest_is_refused_whatever_its_numbers(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, post(1, FACTS[1], FACTS[2]))
    acks = len(rig.acks)
    for events in ([FACTS[3]], FACTS[3:5], FACTS[3:7]):
        rig.at(0.1, post(1, *events, digest="e"))
    assert [(nack.pseq, nack.reason) for nack in rig.nacks] == [(1, "key_reused")] * 3
    assert (taken(rig), len(rig.acks)) == (FACTS[1:3], acks)
    assert rig.batcher.counters["rejected{reason=key_reused}"] == 3


def test_what_finds_no_room_is_told_where_it_is_once_it_is_whole(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=1_000, max_frame_bytes=500)
    events = [fact(number, 400) for number in range(4)]
    rig.at(0.0, post(1, *events))
    assert rig.retries[-1].reason == "full"
    for step in range(1, 20):
        rig.at(step * 0.5, post(1, *events))
    assert rig.acked("key") == 4
    assert rig.reached[-1] == reached(4)
    assert taken(rig) == events


def test_of_one_whose_events_are_all_refused_nothing_is_reached(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, own=True), post(1, FACTS[1]))
    assert [nack.reason for nack in rig.nacks] == ["scan_owned"]
    assert rig.reached == [Reached("key", 0, "scan/a", 0, 0, "d")]
    rig.restart(1.0)
    rig.at(1.1, post(1, FACTS[2], digest="e"))
    assert rig.nacks[-1].reason == "key_reused", "its digest counts all the same"
