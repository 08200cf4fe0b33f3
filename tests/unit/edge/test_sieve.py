"""A reader's filter and its ledger: whatever is left out is counted, and ranges stay contiguous."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.delivery import MAX_VIEWS, Delivery
from pipeline.edge.filter import DEFAULT_CRITICAL, Filter, Gist, read_filter
from pipeline.edge.sieve import Sieve
from pipeline.edge.variant import NATIVE
from tests.unit.edge.worker_model import text_payloads

KINDS = ("portFound", "scanStarted", "vulnerabilityFound", "scanProgress", "custom")


def only(*types: str, severity: str | None = None) -> Filter:
    wanted = read_filter(types, severity)
    assert wanted is not None
    return wanted.over(DEFAULT_CRITICAL)


def frame(first: int, kinds: list[str], left_out: frozenset[int] = frozenset()) -> Delivery:
    """Events from `first` on, of these types; those at the offsets of `left_out` were merged."""
    kept = [offset for offset in range(len(kinds)) if offset not in left_out]
    body = json.dumps([{"type": kinds[offset], "n": first + offset} for offset in kept]).encode()
    at = tuple(kept) if left_out else ()
    return Delivery("scan/demo", 7, first, first + len(kinds) - 1, body, len(left_out), at)


def told(delivery: Delivery) -> dict[str, Any]:
    (payload,) = text_payloads(delivery.encoded(NATIVE).data)
    message = json.loads(payload)
    assert isinstance(message, dict)
    return message


def test_without_a_filter_everything_passes_as_it_is() -> None:
    whole = frame(1, ["portFound"])
    sieve = Sieve()
    assert sieve.take(whole) is whole
    assert sieve.settle() is None


def test_what_passes_is_told_with_its_place_and_what_was_left_out() -> None:
    passed = Sieve(only("portFound")).take(
        frame(5, ["custom", "portFound", "scanProgress", "scanProgress", "portFound"], frozenset({2}))
    )
    assert passed is not None
    assert told(passed) == {
        "type": "batch",
        "scan_id": "demo",
        "epoch": 7,
        "seq": [5, 9],
        "merged": 1,
        "filtered": 2,
        "at": [1, 4],
        "events": [{"type": "portFound", "n": 6}, {"type": "portFound", "n": 9}],
    }


def test_a_range_without_anything_goes_with_what_comes_next() -> None:
    sieve = Sieve(only("portFound"))
    assert sieve.take(frame(1, ["custom", "custom"])) is None
    assert sieve.take(frame(3, ["scanProgress", "scanProgress"], frozenset({0}))) is None
    assert sieve.owes
    passed = sieve.take(frame(5, ["portFound"]))
    assert passed is not None
    message = told(passed)
    assert (message["seq"], message["merged"], message["filtered"], message["at"]) == ([1, 5], 1, 3, [4])
    assert not sieve.owes


def test_a_position_is_told_when_asked_for() -> None:
    sieve = Sieve(only("portFound"))
    sieve.take(frame(1, ["custom", "custom"]))
    sieve.take(frame(3, ["scanProgress", "scanProgress"], frozenset({0})))
    settled = sieve.settle()
    assert settled is not None
    message = told(settled)
    assert (message["seq"], message["merged"], message["filtered"], message["events"]) == ([1, 4], 1, 3, [])
    assert sieve.settle() is None
    passed = sieve.take(frame(5, ["portFound", "custom"]))
    assert passed is not None
    assert told(passed)["seq"] == [5, 6]


def test_what_passes_whole_is_the_same_for_those_without_a_filter() -> None:
    whole = frame(1, ["portFound", "scanStarted"])
    assert Sieve(only("portFound")).take(whole) is whole


def test_readers_whose_filters_mean_the_same_share_what_is_made() -> None:
    whole = frame(1, ["portFound", "custom"])
    first, second = Sieve(only("portFound")), Sieve(only("portFound", "lost"))
    assert first.take(whole) is second.take(whole)


def test_what_is_remembered_of_a_frame_is_bounded() -> None:
    whole = frame(1, ["portFound", "custom"])
    for number in range(10 * MAX_VIEWS):
        assert Sieve(only("portFound", f"kind{number}")).take(whole) is not None
    assert len(whole._views) <= MAX_VIEWS
    assert len(whole._passing) <= MAX_VIEWS


@given(
    frames=st.lists(
        st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=5), max_size=8
    ),
    settles=st.sets(st.integers(0, 7)),
    wanted=st.sampled_from([only("portFound"), only("scanProgress"), only("nothing"), None]),
)
def test_the_ledger_is_exact(
    frames: list[list[tuple[str, bool]]], settles: set[int], wanted: Filter | None
) -> None:
    sieve = Sieve(wanted)
    log = [kind for events in frames for kind, _ in events]
    merged_away: set[int] = set()
    given_out: list[int] = []
    following = 1
    first = 1

    def take(passed: Delivery | None) -> None:
        nonlocal following
        if passed is None:
            return
        message = told(passed)
        start, end = message["seq"]
        assert start == following
        following = end + 1
        assert len(message["events"]) + message["merged"] + message["filtered"] == end - start + 1
        assert message["merged"] == len(merged_away & set(range(start, end + 1)))
        at = message.get("at", range(len(message["events"])))
        assert [start + offset for offset in at] == [event["n"] for event in message["events"]]
        given_out.extend(event["n"] for event in message["events"])

    for number, events in enumerate(frames):
        left_out = frozenset(offset for offset, (_, merged) in enumerate(events[:-1]) if merged)
        merged_away |= {first + offset for offset in left_out}
        take(sieve.take(frame(first, [kind for kind, _ in events], left_out)))
        first += len(events)
        if number in settles:
            take(sieve.settle())
            assert following == first
    take(sieve.settle())
    assert following == len(log) + 1
    passing = [seq for seq, kind in enumerate(log, 1) if wanted is None or wanted.keeps(Gist(kind))]
    assert given_out == [seq for seq in passing if seq not in merged_away]
