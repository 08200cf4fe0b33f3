"""The wall clock is a day off, and a producer goes by another one's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.oracle import check_log, check_native
from tests.faults.readers import StayingNative, StayingRest, wait_end
from tests.faults.scene import Scene
from tests.faults.stand import Stand
from tests.faults.traffic import END, RawProducer, event
from tests.harness import PATIENCE

WORKER = "throttle-batch-0"
SCAN = "office"
DAY_MS = 86_400_000
START = b'{"type":"scanStarted"}'


def test_the_wall_clock_is_a_day_off_and_back(stands: Callable[..., Stand]) -> None:
    stand = stands()
    stand.begin()
    scene = Scene(stand)

    def befall() -> None:
        for number, day_ms in enumerate((-DAY_MS, DAY_MS, 0), 1):
            stand.once[WORKER].append(("--clock-ms", str(day_ms)))
            stand.kill(WORKER)
            name = f"clock{number}"
            scene.beside[name] = scene.send_until(lambda number=number: stand.died(WORKER) == number, name)

    scene.play(befall)
    assert len(stand.deaths) == 3


@pytest.mark.parametrize("day_ms", [-DAY_MS, DAY_MS])
def test_a_scan_starts_again_under_another_clock(stands: Callable[..., Stand], day_ms: int) -> None:
    stand = stands()
    stand.begin()
    first, second = [START, event("a", 1), END], [START, event("a", 2), END]
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(stand.run_dir)) as emitter:
        reader = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
        for raw in first:
            emitter.emit(raw)
        emitter.flush(30 * PATIENCE)
        wait_end(reader, 30)
        stand.once[WORKER].append(("--clock-ms", str(day_ms)))
        stand.kill(WORKER)
        for raw in second:
            emitter.emit(raw)
        emitter.flush(30 * PATIENCE)
        reader.wait_for(lambda reader: len(reader.events) == 2)
        wait_end(reader, 30)
    (one, old), (two, new) = reader.events.items()
    assert two > one
    assert [list(held.values()) for held in (old, new)] == [first, second]
    assert [reset.epoch for reset in reader.resets] == [two]
    assert reader.problems == []
    assert emitter.rejected() == []


def test_a_second_process_takes_over_a_producers_name(stands: Callable[..., Stand]) -> None:
    """The older one is told, also by a worker that was killed since; of neither is anything there twice."""
    stand = stands()
    stand.begin()
    older = RawProducer(SCAN, "scanner", stand.run_dir, inc=1)
    newer = RawProducer(SCAN, "scanner", stand.run_dir, inc=2)
    try:
        with Watchers() as watchers:
            native = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
            rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/{SCAN}/events"))
            of_older = [event("older", number) for number in range(1, 11)]
            of_newer = [event("newer", number) for number in range(1, 21)]
            older.deliver(1, of_older[:5])
            newer.deliver(1, of_newer[:10])
            older.send(6, of_older[5:])
            older.wait_nack("fenced")
            stand.kill(WORKER)
            newer.deliver(11, of_newer[10:])
            older.send(6, of_older[5:])
            older.wait_nack("fenced")
            newer.deliver(21, [END])
            for reader in (native, rest):
                wait_end(reader, 30)
            log = rest.log()
            check_log(log, {"older": of_older[:5], "newer": of_newer})
            check_native(native, log)
    finally:
        older.close()
        newer.close()
