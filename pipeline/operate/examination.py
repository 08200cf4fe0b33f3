"""Gathers what the doctor judges: who is there, what they say, and what the kernel says of them. Shell.

Every wait is bounded, and what is down holds up nothing else. `judging` and `hops` say what it means.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline import __version__
from pipeline.endpoints import Endpoints, endpoints_of
from pipeline.errors import LayoutError
from pipeline.operate import processes
from pipeline.operate.beacons import hear
from pipeline.operate.canary import fly, remove
from pipeline.operate.findings import Finding
from pipeline.operate.hops import Flight, Readiness, grounded, is_edge, judge_flight, judge_readiness
from pipeline.operate.judging import (
    Seen,
    judge_absent,
    judge_all_descriptors,
    judge_clock,
    judge_disk,
    judge_hooks,
    judge_journals,
    judge_layout,
    judge_room,
    judge_stage,
    judge_versions,
)
from pipeline.operate.probes import look_at_edge
from pipeline.places import read_layout
from pipeline.roll_call import RollCall
from pipeline.sockets import NOTIFY_CONTROL, edge_control, found, ingest_control, shard_history
from pipeline.stages import Told
from pipeline.wire import Beacon

ANSWER_S = 2.0
"""How long stages may take to answer, and shards to give a sign of life: some beacons' time."""
DEFAULT_URL = "http://127.0.0.1:8800/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is examined.

    Attributes:
        where: where the sockets are; a path is a run directory.
        url: the edge's address; empty to find it.
        data_dir: the data directory; None for those that workers have open.
        min_free_bytes: the room wanted on the data directory's disk.
        timeout_s: how long it may take altogether.
        token: brought to an edge with accounts; empty for none.
    """

    where: Path | Endpoints
    url: str = ""
    data_dir: Path | None = None
    min_free_bytes: int
    timeout_s: float
    token: str = ""


def examine(order: Order) -> list[Finding]:
    """Look at a whole pipeline, and send a canary through it."""
    until = time.monotonic() + order.timeout_s
    beacons = hear(order.where, min(ANSWER_S, order.timeout_s / 4))
    shards = next((beacon.shards for beacon in beacons.values()), 0)
    call = RollCall(order.where, shards)
    try:
        told = {one.name: one for one in call.ask(min(ANSWER_S, order.timeout_s / 4))}
    finally:
        call.close()
    seen = _all_seen(order.where, shards, told)
    url = order.url or _edge_url(seen)
    findings = _judge_stages(seen, order.where)
    made_with, dirs = _data_dirs(order, seen)
    findings += [
        judge_layout(beacons, made_with),
        judge_versions({one.name: one.stats.version for one in seen if one.stats is not None}, __version__),
        judge_journals(beacons),
        *(judge_disk(str(place), shutil.disk_usage(place).free, order.min_free_bytes) for place in dirs),
        *judge_all_descriptors(_descriptors(seen)),
        *judge_room(one.stats for one in seen if one.stats is not None),
    ]
    way = _way(seen, beacons)
    if isinstance(way, Flight):
        flight, edge = way, look_at_edge(url)
    else:
        flight, edge = fly(order.where, url, way, shards, until, order.token)
        remove(order.where, flight, until)
    return [*findings, judge_readiness(edge), *judge_flight(flight), *_judge_clocks(flight, edge)]


def _all_seen(where: Path | Endpoints, shards: int, told: dict[str, Told]) -> list[Seen]:
    """Return every stage of which there is a socket, and every shard there should be."""
    names = [
        *found(where, ingest_control(0).replace("0", "*")),
        *dict.fromkeys(
            [*map(shard_history, range(shards)), *found(where, shard_history(0).replace("0", "*"))]
        ),
        *found(where, edge_control(0).replace("0", "*")),
        *found(where, NOTIFY_CONTROL),
    ]
    seen = []
    endpoints = endpoints_of(where)
    for socket_name in names:
        name = socket_name.partition(".")[0]
        stats = told[name].stats if name in told else None
        if endpoints.is_tcp(socket_name):
            pid = stats.pid if stats is not None and not endpoints.is_elsewhere(socket_name) else 0
            seen.append(Seen(name, stats is not None, pid, "", stats, endpoints.address(socket_name)))
            continue
        pid = processes.listener_of(endpoints.run_dir / socket_name)
        figures = processes.figures_of(pid) if pid else None
        seen.append(Seen(name, bool(pid), pid, figures.state if figures else "", stats))
    return seen


def _judge_stages(seen: list[Seen], where: Path | Endpoints) -> list[Finding]:
    findings = []
    for stage in ("ingest", "shard", "edge"):
        own = [one for one in seen if one.name.startswith(f"{stage}-")]
        if not own:
            findings.append(judge_absent(stage, str(where)))
        elif stage != "shard" and any(one.bound for one in own):
            own = [one for one in own if one.bound]  # the others are what killed ones left behind
        findings += [judge_stage(one, ANSWER_S) for one in own]
    for notify in (one for one in seen if one.name == "notify"):  # who has no hooks has none
        findings.append(judge_stage(notify, ANSWER_S))
        if notify.stats is not None:
            findings.append(judge_hooks(notify.stats))
    return findings


def _data_dirs(order: Order, seen: Iterable[Seen]) -> tuple[dict[str, int | None], list[Path]]:
    """Return data directory -> the number of shards it was made with, and those whose disk is looked at."""
    places = {
        place for one in seen if one.name.startswith("shard-") for place in processes.journal_dirs(one.pid)
    }
    if order.data_dir is not None:
        places.add(order.data_dir)
    made_with: dict[str, int | None] = {}
    for place in sorted(places):
        try:
            made_with[str(place)] = read_layout(place)
        except LayoutError:
            made_with[str(place)] = None
    return made_with, [place for place in sorted(places) if place.is_dir()]


def _descriptors(seen: Iterable[Seen]) -> dict[str, tuple[int, int]]:
    """Return process -> (open files, its limit); a worker's shards are one process."""
    by_pid: dict[int, str] = {}
    for one in seen:
        if one.pid:
            by_pid.setdefault(one.pid, one.name)
    files = {name: processes.open_files(pid) for pid, name in by_pid.items()}
    return {name: numbers for name, numbers in files.items() if numbers is not None}


def _edge_url(seen: Iterable[Seen]) -> str:
    """Return where an edge listens, as far as the kernel tells; the default otherwise."""
    for one in seen:
        addresses = processes.listening(one.pid) if one.name.startswith("edge-") and one.pid else []
        for scheme in ("http", "https"):
            for address in addresses:  # an edge listens for those who want metrics, too
                url = f"{scheme}://{address}/"
                if is_edge(look_at_edge(url)):
                    return url
    return DEFAULT_URL


def _way(seen: Iterable[Seen], beacons: dict[int, Beacon]) -> int | Flight:
    """Return the shard for a canary; the flight it cannot begin, when no shard would take it at once."""
    alive = {one.name for one in seen if one.stats is not None}
    if not any(name.startswith("ingest-") for name in alive):
        return grounded("emitter", "no ingest answers")
    shards = [shard for shard in sorted(beacons) if f"shard-{shard}" in alive]
    if not shards:
        return grounded("ack", "no worker answers, so that nothing would be acked")
    if len({(beacon.shards, beacon.hash) for beacon in beacons.values()}) > 1:
        return grounded("ack", "the workers disagree about the shards")
    writable = [shard for shard in shards if beacons[shard].writable]
    return writable[0] if writable else grounded("ack", "no shard can write its journal")


def _judge_clocks(flight: Flight, edge: Readiness) -> list[Finding]:
    findings = []
    if flight.epoch_skew_s is not None:
        findings.append(judge_clock(f"shard-{flight.shard}", flight.epoch_skew_s))
    if edge.skew_s is not None:
        findings.append(judge_clock("edge", edge.skew_s))
    return findings
