"""What the doctor makes of a canary: how long each hop took, or which one does not work, and why. Pure.

`canary` sends it; the findings are printed by the `doctor` command.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from pipeline.operate.findings import Finding

HOPS = ("emitter", "ack", "publish", "websocket")
"""In the order in which an event passes them."""

_WENT = {
    "emitter": "an ingest welcomes a producer",
    "ack": "ingest, worker and journal have the event, and the emitter knows",
    "publish": "a subscriber has the frame from the worker's XPUB",
    "websocket": "a browser has it from the edge",
}
_REMEDIES = {
    "emitter": "see what is said of the ingests; start one with bin/up or bin/ingest",
    "ack": "see what is said of the shard, and its worker's log",
    "publish": "restart the worker: it takes events and publishes none",
    "websocket": "see what is said of the edge, and its log; give its address with --edge, if this is the "
    "edge of another pipeline",
}


@dataclass
class Hop:
    """One hop of the canary.

    Attributes:
        name: one of `HOPS`.
        latency_ms: how long the traced event took from the emitter to here; None when it did not come.
        problem: why not, in words; empty when it was not tried.
        remedy: what to do; empty for what helps in most cases.
    """

    name: str
    latency_ms: float | None = None
    problem: str = ""
    remedy: str = ""


@dataclass
class Flight:
    """What became of a canary.

    Attributes:
        scan_id: its scan; empty if it was not sent.
        shard: the shard it went through.
        hops: in their order; those that could not be tried are left out.
        epoch_skew_s: how far the worker's clock is from ours; None when it is not known.
        ended: whether its end is acked.
        left: why it is still there, in words; empty when it is gone.
    """

    scan_id: str
    shard: int
    hops: list[Hop] = field(default_factory=list)
    epoch_skew_s: float | None = None
    ended: bool = False
    left: str = ""


@dataclass
class Readiness:
    """What an edge said of itself.

    Attributes:
        url: the edge.
        status: HTTP; 0 when there was no answer.
        answer: the text, or why there is none.
        skew_s: how far its clock is from ours; None when it is not known.
    """

    url: str
    status: int = 0
    answer: str = ""
    skew_s: float | None = None


class _Answer(msgspec.Struct):
    reason: str = ""
    error: str = ""


def judge_flight(flight: Flight) -> list[Finding]:
    """Judge each hop of a canary."""
    tried = {hop.name: hop for hop in flight.hops}
    found = []
    broken = ""
    for name in HOPS:
        hop = tried.get(name)
        if hop is None:
            why = f"the canary did not pass {broken}" if broken else "no canary was sent"
            found.append(Finding(name, "skipped", why))
        elif hop.latency_ms is None:
            found.append(Finding(name, "failed", hop.problem, hop.remedy or _REMEDIES[name]))
            broken = broken or name
        else:
            text = f"{hop.latency_ms:.1f} ms: {_WENT[name]}"
            found.append(Finding(name, "ok", text, latency_ms=round(hop.latency_ms, 3)))
    return [*found, _judge_remains(flight)] if flight.scan_id else found


def grounded(hop: str, problem: str) -> Flight:
    """Return what becomes of a canary that is not sent, because a hop would not take it."""
    return Flight("", -1, [Hop(hop, problem=problem)])


def _judge_remains(flight: Flight) -> Finding:
    figures: dict[str, object] = {"scan_id": flight.scan_id, "shard": flight.shard}
    if not flight.ended and "ack" in {hop.name for hop in flight.hops}:
        return Finding(
            "canary",
            "warning",
            f"scan {flight.scan_id} may be left without an end",
            f"when the pipeline works again: bin/emit --scan {flight.scan_id} --scan-end",
            figures=figures,
        )
    if flight.left:
        return Finding(
            "canary",
            "warning",
            f"scan {flight.scan_id} has ended, and is still there: {flight.left}",
            f"pipeline scan rm {flight.scan_id}",
            figures=figures,
        )
    return Finding("canary", "ok", f"scan {flight.scan_id} has ended, and is removed", figures=figures)


_UNKNOWN_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
"""What OpenSSL says of a certificate that nobody it trusts has signed."""


def is_edge(found: Readiness) -> bool:
    """Say whether it is an edge that answers, or one whose certificate is not known here."""
    if not found.status:
        return _UNKNOWN_CERTIFICATE in found.answer
    return '"status"' in found.answer


def judge_readiness(edge: Readiness) -> Finding:
    """Judge what an edge's readiness probe says."""
    figures: dict[str, object] = {"url": edge.url, "status": edge.status or None}
    if edge.status == 200:
        return Finding("ready", "ok", f"{edge.url} takes browsers", figures=figures)
    if not edge.status:
        remedy = (
            "start an edge with bin/up or bin/edge; give its address with --edge, if it is another, or https"
        )
        if _UNKNOWN_CERTIFICATE in edge.answer:
            remedy = "name the file with the edge's certificate in SSL_CERT_FILE"
        text = f"{edge.url} does not answer: {edge.answer}"
        return Finding("ready", "failed", text, remedy, figures=figures)
    try:
        said = msgspec.json.decode(edge.answer, type=_Answer)
        why = said.reason or said.error
    except msgspec.DecodeError:
        why = "nothing that an edge says" if "<" in edge.answer else edge.answer[:200]  # no page's markup
    return Finding(
        "ready",
        "failed",
        f"{edge.url} answers {edge.status}: {why or edge.answer[:200]}",
        "see what is said of the shards above; a 403 or 404 is another server, or another path: give --edge",
        figures=figures,
    )
