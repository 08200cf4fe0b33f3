"""What HeroForge's own frontend does with a scan: its WebSocketManager, made again here."""

from __future__ import annotations

from typing import Any

from pipeline import Emitter
from pipeline.producer.simulate import heroforge
from tests.e2e.watching import Watchers
from tests.faults.crashing import kill
from tests.harness import Pipeline

SCAN = "7f3c1f0a-office"

READ: dict[str, dict[str, tuple[type, ...]]] = {
    "scanStarted": {},
    "phaseStarted": {"phase": (str,), "progress": (int, float)},
    "scanProgress": {"phase": (str,), "progress": (int, float), "message": (str,)},
    "hostDiscovered": {"ip": (str,), "hostname": (str, type(None))},
    "portFound": {"ip": (str,), "port": (int,), "protocol": (str,), "state": (str,)},
    "serviceDetected": {
        "ip": (str,),
        "port": (int,),
        "service_name": (str,),
        "version": (str, type(None)),
    },
    "vulnerabilityFound": {
        "ip": (str,),
        "cve_id": (str, type(None)),
        "severity": (str,),
        "title": (str,),
    },
    "error": {"message": (str,)},
    "scanCompleted": {"total_hosts": (int,)},
}
"""The fields its handlers read, by type, and what they may be."""


def test_it_sees_the_scan_with_every_field_it_reads(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = [event for _, event in heroforge(1, SCAN)]
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        manager = watchers.manager(pipeline.ws(f"/api/ws/scans/{SCAN}?token=eyJhbGciOiJIUzI1NiJ9.e30.c2ln"))
        manager.wait_for(lambda manager: manager.has("error"))
        assert manager.objects[0] == {
            "type": "error",
            "message": "Scan channel not found",
            "scanId": SCAN,
        }
        for event in sent:
            emitter.emit(event)
        manager.wait_for(lambda manager: manager.has("scanCompleted"))
        assert manager.statuses == ["connecting", "connected"]
        manager.check(sent)
        seen = manager.objects[1:]
    assert (seen[0]["type"], seen[-1]["type"]) == ("scanStarted", "scanCompleted")
    assert {message["type"] for message in seen} >= set(READ)
    wrong = [message for message in seen if not _readable(message)]
    assert wrong == []
    assert {message["state"] for message in seen if message["type"] == "portFound"} == {
        "Open",
        "Closed",
        "Filtered",
    }


def _readable(message: dict[str, Any]) -> bool:
    fields = READ.get(message["type"], {})
    return all(isinstance(message.get(name), types) for name, types in fields.items())


def test_it_comes_back_by_itself_when_the_edge_was_killed(pipeline: Pipeline) -> None:
    pipeline.start()
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        manager = watchers.manager(pipeline.ws(f"/api/ws/scans/{SCAN}?token=abc"))
        manager.wait_for(lambda manager: manager.has("error"))
        emitter.emit({"type": "scanStarted", "scan_id": SCAN})
        manager.wait_for(lambda manager: manager.has("scanStarted"))
        kill(pipeline, "edge-0")
        manager.wait_for(lambda manager: manager.statuses[-1] == "disconnected")
        pipeline.start_edge()
        manager.wait_for(lambda manager: manager.statuses[-1] == "connected")
        # Its wire is live only, and says nothing when it has joined: the first of these may pass before.
        while not manager.has("phaseStarted"):
            emitter.emit({"type": "phaseStarted", "phase": "port_scan", "progress": 20})
            with manager.changed:
                manager.changed.wait(0.1)
        emitter.emit({"type": "scanCompleted", "total_hosts": 1})
        manager.wait_for(lambda manager: manager.has("scanCompleted"))
        assert manager.statuses.count("connected") == 2
