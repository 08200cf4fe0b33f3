"""What does the scan's state cost an event: folding it, and keeping it? Yardstick: msgspec's decode of it.

One process, CPU time, no sockets. First HeroForge's reference scan, type by type; each part is the best of a
few rounds. Then the largest scan that the table holds whole, 65,536 hosts and 500,000 open ports: what it
takes to fold, to hold, to write down, to read back, and what writing it down comes to per event, as often as
the worker does it.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _measuring import end_in_order
from _options import Option, parse
from _report import Report, Table

from pipeline.event import AnyEvent, Catalogue, Treatment, event_type, read_event
from pipeline.event_json import encode_event
from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.batcher import CHECKPOINT_EVENTS
from pipeline.throttle_batch.channel import CHECKPOINT_SHARE
from pipeline.throttle_batch.records import LifeState
from pipeline.throttle_batch.scan_state import ScanState

MINUTES = {"quick": 0.2, "normal": 0.4, "full": 0.8}
OPTIONS = (
    Option("rounds", "of which the best counts", 5, quick=2, full=7, smallest=1),
    Option("events", "of the reference scan", 15_000, smallest=1000),
    Option("large", "whether the largest scan is measured, too", True, quick=False),
)
TARGET_US = 2.5
HOSTS = 65_536
OPEN_PORTS = 500_000

Told = tuple[AnyEvent, Treatment]


def cpu_us(begun: float, count: int) -> float:
    """CPU microseconds an event since `begun`."""
    return (time.process_time() - begun) / count * 1e6


def told(raws: Sequence[bytes]) -> list[Told]:
    """Each event as a worker has it when it folds."""
    catalogue = Catalogue()
    return [(event, catalogue.treatment(event, raw)) for raw in raws for event in (read_event(raw),)]


def fold(state: ScanState, events: Sequence[Told]) -> None:
    for seq, (event, treatment) in enumerate(events, 1):
        state.fold(event, treatment, seq, seq / 250)


def measure_mix(report: Report, rounds: int, count: int) -> None:
    """Fold the reference scan, and each of its types."""
    raws = [raw for _, raw in heroforge(7, "demo")][:count]
    events = told(raws)
    best: dict[str, float] = {}

    def keep(name: str, us: float) -> None:
        best[name] = min(best.get(name, us), us)

    by_type: dict[str, list[tuple[int, Told]]] = {}
    for seq, item in enumerate(events, 1):
        by_type.setdefault(event_type(item[0]), []).append((seq, item))
    for _ in range(rounds):
        begun = time.process_time()
        for raw in raws:
            read_event(raw)
        keep("decode", cpu_us(begun, len(raws)))
        state = ScanState()
        begun = time.process_time()
        fold(state, events)
        keep("fold", cpu_us(begun, len(raws)))
        for name, group in by_type.items():
            state = ScanState()
            begun = time.process_time()
            for seq, (event, treatment) in group:
                state.fold(event, treatment, seq, seq / 250)
            keep(name, cpu_us(begun, len(group)))
    decode_us = best.pop("decode")
    heads = [("CPU us an event", 0), ("events", 0), ("us", 2), ("x decode", 2)]
    table = Table(f"The reference scan, {len(raws):,} events", heads)
    table.add("msgspec decode", len(raws), decode_us, 1.0)
    table.add("scanstream fold", len(raws), best["fold"], best["fold"] / decode_us)
    for name, group in sorted(by_type.items(), key=lambda entry: -len(entry[1])):
        if len(group) >= 20:
            table.add(f"fold {name}", len(group), best[name], best[name] / decode_us)
    report.add(table)
    report.target("fold, CPU us an event", best["fold"], "<=", TARGET_US)


def large() -> list[bytes]:
    addresses = [f"10.{number >> 8 & 255}.{number & 255}.7" for number in range(HOSTS)]
    raws = [encode_event({"type": "hostDiscovered", "ip": ip}) for ip in addresses]
    ports = (22, 80, 443, 445, 3389, 8080, 8443, 9100)
    for number in range(OPEN_PORTS):
        ip = addresses[number % HOSTS]
        port = ports[number // HOSTS]
        raws.append(
            encode_event({"type": "portFound", "ip": ip, "port": port, "protocol": "TCP", "state": "Open"})
        )
    return raws


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1_048_576


def measure_large(report: Report) -> None:
    """Fold the largest scan, write it down, and read it back."""
    events = told(large())
    gc.collect()
    before_mib = resident_mib()
    state = ScanState()
    begun = time.process_time()
    fold(state, events)
    folded_us = cpu_us(begun, len(events))
    held_mib = resident_mib() - before_mib
    begun = time.process_time()
    kept = state.record()
    kept_ms = (time.process_time() - begun) * 1000
    begun = time.process_time()
    ScanState().restore(LifeState(folded=len(events), created_ms=0), kept)
    restored_ms = (time.process_time() - begun) * 1000
    pause = max(CHECKPOINT_EVENTS, state.weight // CHECKPOINT_SHARE)
    begun = time.process_time()
    page, _ = state.hosts.page(0, 1_000, 262_144)
    page_ms = (time.process_time() - begun) * 1000
    table = Table(f"The largest scan, {HOSTS:,} hosts, {OPEN_PORTS:,} ports", [("", 0), ("figure", 2)])
    table.add("fold, us an event", folded_us)
    table.add("held, MiB", held_mib)
    table.add("a checkpoint, MB", len(kept) / 1e6)
    table.add("written in, ms", kept_ms)
    table.add("read in, ms", restored_ms)
    table.add("a checkpoint after so many events", pause)
    table.add("writing, us an event", kept_ms * 1000 / pause)
    table.add("writing, bytes an event", len(kept) / pause)
    table.add(f"a page of {len(page)} hosts, ms", page_ms)
    report.add(table)


def main() -> None:
    """Measure, and tell."""
    options = parse("fold", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("fold", options.scale, options.into, ("msgspec",))
    measure_mix(report, options.rounds, options.events)
    if options.large:
        measure_large(report)
    report.close()


if __name__ == "__main__":
    main()
