"""What does the scan's state cost an event: folding it, and keeping it? Yardstick: msgspec's decode of it.

One process, CPU time, no sockets. First HeroForge's reference scan, type by type; each part is the best of a
few rounds. Then the largest scan that the table holds whole, 65,536 hosts and 500,000 open ports: what it
takes to fold, to hold, to write down, to read back, and what writing it down comes to per event, as often as
the worker does it. Takes about 40 s.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.event import AnyEvent, Catalogue, Treatment, encode_event, event_type, read_event
from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.batcher import CHECKPOINT_EVENTS
from pipeline.throttle_batch.channel import CHECKPOINT_SHARE
from pipeline.throttle_batch.records import LifeState
from pipeline.throttle_batch.scan_state import ScanState

ROUNDS = 7
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


def measure_mix() -> None:
    raws = [raw for _, raw in heroforge(7, "demo")]
    events = told(raws)
    decode_us = fold_us = loop_us = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for raw in raws:
            read_event(raw)
        decode_us = min(decode_us, cpu_us(begun, len(raws)))
        state = ScanState()
        begun = time.process_time()
        fold(state, events)
        fold_us = min(fold_us, cpu_us(begun, len(raws)))
        begun = time.process_time()
        for _seq, (_event, _treatment) in enumerate(events, 1):
            pass
        loop_us = min(loop_us, cpu_us(begun, len(raws)))
    fold_us -= loop_us
    print(f"reference scan, {len(raws)} events: decode {decode_us:.2f} us, fold {fold_us:.2f} us an event")
    print(f"  fold / decode = {fold_us / decode_us:.2f}; target <= {TARGET_US} us: {fold_us <= TARGET_US}")
    by_type: dict[str, list[tuple[int, Told]]] = {}
    for seq, item in enumerate(events, 1):
        by_type.setdefault(event_type(item[0]), []).append((seq, item))
    for name, group in sorted(by_type.items(), key=lambda entry: -len(entry[1])):
        if len(group) < 20:
            continue
        best = float("inf")
        for _ in range(ROUNDS):
            state = ScanState()
            begun = time.process_time()
            for seq, (event, treatment) in group:
                state.fold(event, treatment, seq, seq / 250)
            best = min(best, cpu_us(begun, len(group)))
        print(f"  {name:<22} {len(group):>6} events  {best:5.2f} us")


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


def measure_large() -> None:
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
    print(f"{HOSTS} hosts, {OPEN_PORTS} ports: fold {folded_us:.2f} us an event, {held_mib:.0f} MiB held")
    print(
        f"  a checkpoint: {len(kept) / 1e6:.1f} MB, written in {kept_ms:.0f} ms, read in {restored_ms:.0f} ms"
    )
    print(f"  every {pause} events: {kept_ms * 1000 / pause:.2f} us, {len(kept) / pause:.0f} bytes an event")
    begun = time.process_time()
    page, _ = state.hosts.page(0, 1_000, 262_144)
    page_ms = (time.process_time() - begun) * 1000
    print(f"  a page of {len(page)} hosts, {sum(map(len, page))} bytes: {page_ms:.1f} ms")


if __name__ == "__main__":
    measure_mix()
    measure_large()
