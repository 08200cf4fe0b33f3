"""What a worker says of a scan by itself is said once, wherever the worker dies while it says it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.e2e.watching import NativeReader, Watchers
from tests.faults.oracle import check_native
from tests.faults.readers import StayingNative, StayingRest, StayingSse
from tests.faults.stand import Stand

WORKER = "throttle-batch-0"
IMPATIENT = """[watchdog]
stalled_after_s = 0.3
stalled_factor = 1
stalled_at_most_s = 0.3
orphaned_after_s = 0.6
orphan_grace_s = 0.3
"""
SAID = ["scanStalled", "scanOrphaned", "error"]


def has_failed(reader: NativeReader) -> bool:
    return any(b'"type":"error"' in raw for held in reader.events.values() for raw in held.values())


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_publish", "after_publish"])
def test_a_worker_dies_while_it_says_what_became_of_a_scan(stands: Callable[..., Stand], point: str) -> None:
    """The scanner is killed; then one worker after the other, each as it says the next thing of the scan."""
    stand = stands(config={"throttle-batch": IMPATIENT})
    stand.once[WORKER].extend(("--crash", point, "--when", f'"type":"{type_}"') for type_ in SAID)
    stand.begin()
    with Watchers() as watchers:
        native = watchers.add(StayingNative(watchers.loop, stand.ws("/ws/scans/office")))
        sse = watchers.add(StayingSse(watchers.loop, f"{stand.url}/sse/scans/office"))
        command = [sys.executable, "-m", "pipeline", "emit", "--scan", "office"]
        with subprocess.Popen(
            [*command, "--run-dir", str(stand.run_dir)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as scanner:
            assert scanner.stdin is not None
            scanner.stdin.write(b'{"type":"scanStarted"}\n')
            scanner.stdin.flush()
            native.wait_for(lambda reader: reader.seq >= 1)
            scanner.kill()
        rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/office/events"))
        for reader in (native, sse):
            reader.wait_for(has_failed, 60)
        rest.wait_for(lambda reader: reader.complete, 60)
        log = rest.log()
        check_native(native, log)
        check_native(sse, log)
    assert [json.loads(raw)["type"] for raw in log] == ["scanStarted", *SAID]
    assert stand.deaths == [(WORKER, -signal.SIGKILL)] * len(SAID)
    assert stand.get("/api/scans/office")[1]["status"] == "failed"
    assert stand.last_words == []
