"""Each stage dies at each of its points, while a scan runs: nothing is lost, nothing is there twice."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.crash_points import POINTS
from tests.faults.oracle import check_native
from tests.faults.readers import StayingNative, wait_end
from tests.faults.scene import Scene, past
from tests.faults.stand import Stand
from tests.faults.traffic import END, event
from tests.harness import PATIENCE, deadline

WORKER = "throttle-batch-0"


@pytest.mark.parametrize("stage", POINTS)
def test_a_stage_dies_at_each_of_its_points(stands: Callable[..., Stand], stage: str) -> None:
    stand = stands()
    name = f"{stage}-0"
    points = [f"{point}:{1 if point == 'in_load' else 2}" for point in POINTS[stage]]
    stand.begin()
    stand.once[name].extend(("--crash", point) for point in points)
    scene = Scene(stand)

    def befall() -> None:
        stand.kill(name)
        scene.beside["knock"] = scene.send_until(lambda: stand.died(name) > len(points), "knock")

    scene.play(befall)
    assert stand.deaths == [(name, -signal.SIGKILL)] * (1 + len(points))


def test_a_worker_dies_while_it_lets_go_of_old_events(stands: Callable[..., Stand]) -> None:
    """Whoever keeps up has everything; whoever comes late is told which events are no longer held."""
    stand = stands(config={"throttle-batch": "[journal]\nmax_channel_events = 1000\n"})
    stand.begin()
    stand.once[WORKER].extend(("--crash", f"in_trim:{number}") for number in (1, 2, 3))
    stand.kill(WORKER)
    sent: list[bytes] = []
    with Watchers() as watchers, Emitter("office", run_dir=str(stand.run_dir)) as emitter:
        reader = watchers.add(StayingNative(watchers.loop, stand.ws("/ws/scans/office")))
        end = deadline(60)
        while stand.died(WORKER) < 4 or len(sent) < 3_000:
            assert not past(end), f"{len(sent)} events, and died {stand.deaths}"
            more = [event("a", len(sent) + number) for number in range(1, 251)]
            sent += more
            seq = len(sent)
            for raw in more:
                emitter.emit(raw)
            reader.wait_for(lambda reader, seq=seq: reader.seq == seq)
        emitter.emit(END)
        wait_end(reader, 60)
        check_native(reader, [*sent, END])
        _, page = stand.get("/api/scans/office/events?limit=10000")
    first = page["seq"][0]
    assert 1 < first <= len(sent) - 998
    assert [got["n"] for got in page["events"][:-1]] == list(range(first, len(sent) + 1))
    assert stand.last_words == []


@pytest.mark.parametrize(("point", "status"), [("in_delete:1", 200), ("after_delete:1", 404)])
def test_a_worker_dies_while_it_deletes_a_scan(stands: Callable[..., Stand], point: str, status: int) -> None:
    """The question is asked again; what is told then is true, and the scan is gone whole or not at all."""
    stand = stands(config={"throttle-batch": "[cleanup]\ncleanup_after_s = 0.1\n"})
    stand.begin()
    stand.once[WORKER].append(("--crash", point))
    stand.kill(WORKER)
    with Emitter("old", run_dir=str(stand.run_dir)) as emitter:
        for raw in (b'{"type":"scanStarted"}', *(event("a", number) for number in range(500)), END):
            emitter.emit(raw)
    with Emitter("other", run_dir=str(stand.run_dir)) as emitter:
        for raw in (b'{"type":"scanStarted"}', END):
            emitter.emit(raw)
    end = deadline(60)
    while len(stand.get("/api/scans?past=true")[1]["scans"]) < 2:
        assert not past(end)
    request = urllib.request.Request(f"{stand.url}/api/scans/old", method="DELETE")
    answered = 503
    while answered == 503:  # its worker was not back within 5 s
        assert not past(end)
        try:
            with urllib.request.urlopen(request, timeout=30 * PATIENCE) as answer:
                answered = answer.status
        except urllib.error.HTTPError as error:
            with error:
                answered = error.code
    assert answered in (status, 404)
    assert stand.died(WORKER) == 2
    found = stand.get("/api/scans?past=true")[1]
    assert [scan["scan_id"] for scan in found["scans"]] == ["other"]
    assert stand.get("/api/scans/old")[0] == 404
    assert stand.get("/api/scans/old/events")[0] == 404
    assert len(stand.get("/api/scans/other/events")[1]["events"]) == 2
    assert stand.last_words == []
