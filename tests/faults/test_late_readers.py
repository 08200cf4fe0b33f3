"""Who opens a scan in the middle, or wants a part of it, has just that, whatever is killed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipeline import Emitter
from pipeline.event import read_event
from pipeline.throttle_batch.scan_state import ScanState
from tests.faults.crash_points import POINTS
from tests.faults.oracle import check_native
from tests.faults.readers import StayingLate, StayingNative, wait_end
from tests.faults.scene import Scene
from tests.faults.stand import Schedule, Stand
from tests.harness import PATIENCE
from tests.unit.throttle_batch.conftest import treatment

SEED = 11
OPENINGS = 12
FOUND_AT_ONCE = 40


def found(number: int) -> bytes:
    """Return the event of a port; every third one was found before."""
    port = number - number % 3
    about = {"ip": f"10.0.0.{port % 7}", "port": port + 1, "protocol": "TCP", "state": "Open"}
    return json.dumps({"type": "portFound", "producer": "found", "n": number, **about}).encode()


def test_who_opens_a_scan_in_the_middle_has_its_state_and_what_follows(stands: Callable[..., Stand]) -> None:
    """Readers open one after the other, one has a filter; processes are killed, and die at points."""
    stand = stands()
    stand.begin()
    crashes = {name: POINTS[name.rpartition("-")[0]] for name in stand.names}
    schedule = Schedule(stand, SEED, crashes)
    scene = Scene(stand, SEED, producers=2, count=300, span_s=3.0)
    late: list[StayingLate] = []
    choosy: list[StayingNative] = []
    sent: list[bytes] = []

    def befall() -> None:
        url = stand.ws(f"/ws/scans/{scene.scan_id}?types=portFound")
        choosy.append(scene.watchers.add(StayingNative(scene.watchers.loop, url)))
        with Emitter(scene.scan_id, run_dir=str(stand.run_dir)) as emitter:
            for _ in range(OPENINGS):
                sent.extend(map(found, range(len(sent) + 1, len(sent) + 1 + FOUND_AT_ONCE)))
                for raw in sent[-FOUND_AT_ONCE:]:
                    emitter.emit(raw)
                url = stand.ws(f"/ws/scans/{scene.scan_id}")
                late.append(scene.watchers.add(StayingLate(scene.watchers.loop, url)))
                schedule.run(1)
            stand.disarm()
            emitter.flush(scene.patience_s * PATIENCE)
        scene.beside["found"] = sent

    def check(log: list[bytes]) -> None:
        (reader,) = choosy
        wait_end(reader, scene.patience_s)
        reader.check_filtered(log, is_wanted)
        assert reader.opened > 1
        assert all(hello.resumed is not False for hello in reader.hellos)
        for opened in late:
            wait_end(opened, scene.patience_s)
            ((base, state),) = opened.states.values() or [(0, {})]
            check_native(opened, log, base + 1)
            assert min(next(iter(opened.events.values()))) > base
            if base:
                check_state(state, log[:base])
        assert sum(bool(opened.states) for opened in late) > OPENINGS // 2
        assert any(opened.opened > 1 for opened in late), "some had to come back"

    scene.play(befall, check)


def is_wanted(raw: bytes) -> bool:
    """Say whether a filter for ports lets it pass; critical events always do."""
    return json.loads(raw)["type"] in ("portFound", "phaseStarted", "scanCompleted")


def check_state(given: dict[str, Any], log: list[bytes]) -> None:
    """A state is that of folding the log up to its place by oneself."""
    state = ScanState()
    for seq, raw in enumerate(log, 1):
        state.fold(read_event(raw), treatment(raw), seq)
    totals = state.totals()
    assert given["counts"] == state.counts
    assert given["event_count"] == len(log)
    assert (given["status"], given["phase"]) == (state.status, state.phase)
    assert given["progress"] == state.progress.percent
    told = given["totals"]
    assert (told["hosts"], told["open_ports"], told["exact"]) == (totals.hosts, totals.open_ports, True)
