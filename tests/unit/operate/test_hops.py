"""What a canary tells: how long each hop took, or which one does not work."""

from __future__ import annotations

import pytest

from pipeline.operate.hops import (
    HOPS,
    Flight,
    Hop,
    Readiness,
    grounded,
    is_edge,
    judge_flight,
    judge_readiness,
)

WHOLE = [Hop(name, float(number)) for number, name in enumerate(HOPS, 1)]


def statuses(flight: Flight) -> dict[str, str]:
    return {finding.name: finding.status for finding in judge_flight(flight)}


def test_a_whole_flight() -> None:
    found = judge_flight(Flight("doctor-1", 2, WHOLE, 0.0, ended=True))
    assert [finding.status for finding in found] == ["ok"] * 5
    assert [finding.latency_ms for finding in found] == [1.0, 2.0, 3.0, 4.0, None]
    assert found[0].text.startswith("1.0 ms: ")
    assert found[-1].text == "scan doctor-1 has ended, and is removed"


@pytest.mark.parametrize("number", range(len(HOPS)))
def test_the_hop_that_fails_is_named_and_those_behind_it_are_skipped(number: int) -> None:
    flight = Flight("doctor-1", 0, [*WHOLE[:number], Hop(HOPS[number], problem="it hangs")])
    found = {finding.name: finding for finding in judge_flight(flight)}
    assert [found[name].status for name in HOPS] == [
        *["ok"] * number,
        "failed",
        *["skipped"] * (len(HOPS) - number - 1),
    ]
    assert found[HOPS[number]].text == "it hangs"
    assert found[HOPS[number]].remedy
    assert all(found[name].text == f"the canary did not pass {HOPS[number]}" for name in HOPS[number + 1 :])


def test_two_ways_out_are_judged_apart() -> None:
    flight = Flight("doctor-1", 0, [*WHOLE[:2], Hop("publish", problem="x"), WHOLE[3]], ended=True)
    assert statuses(flight) == {
        "emitter": "ok", "ack": "ok", "publish": "failed", "websocket": "ok", "canary": "ok"
    }  # fmt: skip


@pytest.mark.parametrize("hop", ["emitter", "ack"])
def test_a_canary_that_is_not_sent_leaves_nothing_behind(hop: str) -> None:
    found = statuses(grounded(hop, "nobody is there"))
    assert found[hop] == "failed"
    assert "canary" not in found
    assert set(found.values()) == {"failed", "skipped"}


def test_what_is_left_of_a_canary_is_told() -> None:
    unended = judge_flight(Flight("doctor-1", 0, WHOLE[:2]))[-1]
    assert (unended.status, unended.text) == ("warning", "scan doctor-1 may be left without an end")
    assert "bin/emit --scan doctor-1 --scan-end" in unended.remedy
    left = judge_flight(Flight("doctor-1", 0, WHOLE, ended=True, left="journal"))[-1]
    assert (left.status, left.text) == ("warning", "scan doctor-1 has ended, and is still there: journal")


@pytest.mark.parametrize(
    ("status", "answer", "verdict", "text"),
    [
        (200, "{}", "ok", "U takes browsers"),
        (0, "Connection refused", "failed", "U does not answer: Connection refused"),
        (503, '{"status":"degraded","reason":"no beacon"}', "failed", "U answers 503: no beacon"),
        (403, '{"error":"no such host"}', "failed", "U answers 403: no such host"),
        (404, "<html>", "failed", "U answers 404: nothing that an edge says"),
        (500, "[1]", "failed", "U answers 500: [1]"),
    ],
)
def test_readiness(status: int, answer: str, verdict: str, text: str) -> None:
    finding = judge_readiness(Readiness("U", status, answer))
    assert (finding.status, finding.text) == (verdict, text)
    assert bool(finding.remedy) == (verdict != "ok")


def test_a_certificate_that_is_not_known_has_a_remedy_of_its_own() -> None:
    answer = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
    assert "SSL_CERT_FILE" in judge_readiness(Readiness("U", 0, answer)).remedy
    assert is_edge(Readiness("U", 0, answer))


def test_what_listens_for_something_else_is_no_edge() -> None:
    assert is_edge(Readiness("U", 503, '{"status":"degraded"}'))
    assert not is_edge(Readiness("U", 404, "there is /metrics\n"))
    assert not is_edge(Readiness("U", 0, "Connection refused"))
