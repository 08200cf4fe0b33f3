"""Very many readers when a process dies: everybody has everything again. The time that took is printed.

`bin/test --faults` runs it with 3,000 watched scans and 1,000 readers that come back at once; the usual run
with a tenth.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable

import pytest

from pipeline import Emitter
from tests.faults.crowd import Crowd
from tests.faults.long_form import LONG
from tests.faults.stand import Stand
from tests.faults.traffic import event
from tests.harness import PATIENCE

SCANS, READERS = (3_000, 1_000) if LONG else (300, 100)
RELIVED = "with 3,000 the aim is 3 s"
CAUGHT_UP = "with 1,000 the aim is 10 s"
STORM_SCANS = 10
BEFORE = 500
"""Events of each scan before its edge dies, and as many while it is away."""


@pytest.fixture(autouse=True)
def _enough_files() -> None:
    """Every reader is a socket here and one in the edge."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * SCANS + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * SCANS + 500, hard), hard))


def test_many_scans_are_live_again_after_their_worker_was_killed(
    stands: Callable[..., Stand], capsys: pytest.CaptureFixture[str]
) -> None:
    stand = stands()
    stand.begin()
    scan_ids = [f"scan-{number}" for number in range(SCANS)]
    with Emitter(run_dir=str(stand.run_dir)) as emitter:
        for scan_id in scan_ids:
            emitter.emit(event("a", 1), scan_id=scan_id)
        emitter.flush(60 * PATIENCE)
        with Crowd(stand.port, [f"/ws/scans/{scan_id}" for scan_id in scan_ids]) as crowd:
            crowd.expect(1)
            crowd.wait(60)
            crowd.expect(2)
            killed_at = time.monotonic()
            stand.kill("throttle-batch-0")
            for scan_id in scan_ids:
                emitter.emit(event("a", 2), scan_id=scan_id)
            took = crowd.wait(60) - killed_at
            assert crowd.problems() == []
            assert all(client.opened == 1 for client in crowd.clients)
    assert stand.died("throttle-batch-0") == 1
    with capsys.disabled():
        print(f"\n{SCANS} watched scans live again {took:.2f} s after kill -9 of their worker ({RELIVED})")


def test_very_many_readers_come_back_at_once(
    stands: Callable[..., Stand], capsys: pytest.CaptureFixture[str]
) -> None:
    stand = stands()
    stand.begin()
    scan_ids = [f"scan-{number}" for number in range(STORM_SCANS)]

    def emit(first: int) -> None:
        for number in range(first, first + BEFORE):
            for scan_id in scan_ids:
                emitter.emit(event("a", number), scan_id=scan_id)
        emitter.flush(60 * PATIENCE)

    with Emitter(run_dir=str(stand.run_dir)) as emitter:
        emit(1)
        paths = [f"/ws/scans/{scan_ids[number % STORM_SCANS]}" for number in range(READERS)]
        with Crowd(stand.port, paths) as crowd:
            crowd.expect(BEFORE)
            crowd.wait(60)
            with stand.down("edge-0"):
                emit(BEFORE + 1)
            crowd.expect(2 * BEFORE)
            started_at = time.monotonic()
            took = crowd.wait(60) - started_at
            assert crowd.problems() == []
            opened = Counter(client.opened for client in crowd.clients)
            assert opened == {2: READERS}, f"times connected: {opened}"
    with capsys.disabled():
        print(f"\n{READERS} readers caught up {took:.2f} s after their edge was started ({CAUGHT_UP})")
