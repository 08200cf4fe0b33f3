"""The page of one scan counts what its worker counts, whether it saw every event or came in the midst."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.event import SEVERITIES, Catalogue, read_event
from pipeline.event_json import encode_event
from pipeline.throttle_batch.scan_state import ScanState
from tests.harness import PATIENCE

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "pipeline" / "edge" / "static"
SEEDS = 60
EVENTS = 300
FIRST_HOSTS = 3
PAGE_HOSTS = 4
KINDS = {
    "vulnerabilityFound": "vulnerability",
    "enumerationFinding": "enumeration",
    "dnsRecordFound": "dns",
    "subdomainFound": "subdomain",
}

pytestmark = pytest.mark.system


class Worker:
    """A scan's state as its worker folds it.

    Args:
        events: what comes, in order.
    """

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.seq = 0
        self.state = ScanState()
        self._catalogue = Catalogue()

    def go_on(self, seq: int) -> None:
        """Fold every event up to this one."""
        for event in self.events[self.seq : seq]:
            self.seq += 1
            raw = encode_event(event)
            read = read_event(raw)
            self.state.fold(read, self._catalogue.treatment(read, raw), self.seq, self.seq / 10)

    def snapshot(self) -> dict[str, Any]:
        """Compose the message, with the first few hosts."""
        state, progress = self.state, self.state.progress
        page = self.page(0, FIRST_HOSTS)
        document = {
            "status": state.status,
            "error": state.error or None,
            "message": state.message,
            "name": state.about.name,
            "targets": [],
            "targets_left_out": 0,
            "elapsed_time": self.seq / 10,
            "phase": progress.phase,
            "phases": [
                {"phase": phase.name, "started_s": phase.started_s, "percent": phase.percent}
                for phase in progress.phases.values()
            ],
            "phases_left_out": progress.left_out,
            "progress": progress.percent,
            "finalising": progress.finalising,
            "time_left": None,
            "counts": state.counts,
            "best_effort": False,
            "stalls_after_s": 0.0,
            "totals": msgspec.to_builtins(state.totals()),
            "hosts": page["hosts"],
            "hosts_next": page["next"],
            "hosts_left_out": state.hosts.left_out,
            "findings": [msgspec.structs.asdict(finding) for finding in state.findings()],
        }
        return {"type": "snapshot", "scan_id": "demo", "epoch": 1, "seq": self.seq, "state": document}

    def page(self, after: int, limit: int = PAGE_HOSTS) -> dict[str, Any]:
        """Return a page of hosts."""
        hosts, following = self.state.hosts.page(after, limit, 1 << 20)
        return {
            "epoch": 1,
            "seq": self.seq,
            "hosts": [json.loads(raw) for raw in hosts],
            "next": following,
            "left_out": self.state.hosts.left_out,
        }

    def held(self) -> dict[str, Any]:
        """Return what a page is to hold."""
        state = self.state
        totals = state.totals()
        severities = [totals.vulnerabilities[severity] for severity in SEVERITIES]
        return {
            "status": state.status,
            "totals": {
                "hosts": totals.hosts,
                "openPorts": totals.open_ports,
                "services": totals.services,
                "severities": severities,
                "exact": True,
            },
            "exact": True,
            "message": state.message,
            "phase": state.phase,
            "percent": state.progress.percent,
            "finalising": state.progress.finalising,
            "hosts": [_shown(host) for host in self.page(0, 1_000)["hosts"]],
            "findings": [
                [finding.seq, KINDS[finding.type], finding.severity, finding.title, finding.detail]
                for finding in state.findings()
            ],
        }


def _shown(host: dict[str, Any]) -> dict[str, Any]:
    ports = [[port[0], port[1] or "", port[2] or "", *(port[3:] or ["", ""])] for port in host["ports"]]
    rank = {"": 0, "Open": 0, "Filtered": 1, "Closed": 2}
    protocols = {"TCP": 0, "UDP": 1, "": 2}
    ports.sort(key=lambda port: (rank[port[2]], port[0], protocols[port[1]]))
    found = [list(entry) for entry in host["vulnerabilities"]]
    found.sort(key=lambda entry: (SEVERITIES.index(entry[0]), entry[1], entry[2]))
    return {
        **{
            name: host[name] for name in ("ip", "hostname", "open_ports", "port_count", "vulnerability_count")
        },
        "ports": ports,
        "vulnerabilities": found,
        "severities": [sum(entry[0] == severity for entry in found) for severity in SEVERITIES],
    }


def _events(rng: random.Random) -> list[dict[str, Any]]:
    """Return a scan in which things are told again, in another order, and otherwise than before."""
    ips = [f"10.0.0.{number}" for number in range(12)]
    phases = ["discovery", "port_scan", "vuln_scan"]

    def event() -> dict[str, Any]:
        ip, port = rng.choice(ips), rng.choice([22, 53, 80, 443])
        phase, percent = rng.choice(phases), rng.choice([0, 10, 35.5, 60, 90, 100, 100, -1, 1e19])
        kinds: list[dict[str, Any]] = [
            {"type": "hostDiscovered", "ip": ip, "hostname": rng.choice(["a.test", "b.test"])},
            {"type": "hostDiscovered", "ip": ip},
            {
                "type": "portFound",
                "ip": ip,
                "port": port,
                "protocol": rng.choice(["TCP", "UDP"]),
                "state": rng.choice(["Open", "Open", "Closed", "Filtered"]),
            },
            {
                "type": "serviceDetected",
                "ip": ip,
                "port": port,
                "service_name": rng.choice(["http", "ssh"]),
                "version": rng.choice(["1", "2"]),
            },
            {
                "type": "vulnerabilityFound",
                "ip": ip,
                "severity": rng.choice(SEVERITIES),
                "title": rng.choice(["weak", "weaker"]),
                "cve_id": rng.choice(["CVE-1", "CVE-2"]),
            },
            {"type": "enumerationStarted", "ip": ip, "port": port},
            {"type": "enumerationFinding", "ip": ip, "port": port, "finding_type": "user", "value": "root"},
            {"type": "dnsRecordFound", "domain": "a.test", "record_type": "A", "value": ip},
            {"type": "subdomainFound", "subdomain": "b.test"},
            {"type": "scanStalled"},
            {"type": "scanProgress", "phase": phase, "progress": percent},
            {"type": "phaseStarted", "phase": phase},
            {"type": "somethingElse"},
        ]
        return rng.choice(kinds)

    return [event() for _ in range(EVENTS)]


def _batch(events: list[dict[str, Any]], first: int, last: int) -> dict[str, Any]:
    given = events[first - 1 : last]
    return {"message": {"type": "batch", "epoch": 1, "seq": [first, last], "events": given}}


def _steps(rng: random.Random, worker: Worker) -> list[dict[str, Any]]:
    """Return a page's life: opened at some event, pages of hosts while events go on, maybe a snapshot."""
    steps: list[dict[str, Any]] = []
    seen, after = rng.choice([0, rng.randrange(1, EVENTS)]), None
    if seen:
        worker.go_on(seen)
        steps.append({"message": worker.snapshot()})
        after = steps[-1]["message"]["state"]["hosts_next"]
    asked: dict[str, Any] | None = None
    while seen < EVENTS or after is not None:
        worker.go_on(min(EVENTS, max(worker.seq, seen + rng.randrange(30))))  # the worker is ahead of frames
        if after is not None and asked is None and rng.random() < 0.5:
            asked = worker.page(after)
        elif asked is not None and rng.random() < 0.5:  # its answer comes when events have gone on
            steps.append({"page": asked, "after": after})
            after, asked = asked["next"], None
        elif rng.random() < 0.1:  # left out: what comes is a snapshot
            seen, asked = worker.seq, None
            steps.append({"message": worker.snapshot()})
            after = steps[-1]["message"]["state"]["hosts_next"]
        elif worker.seq > seen:
            last = rng.randrange(seen, worker.seq) + 1
            steps.append(_batch(worker.events, seen + 1, last))
            seen = last
    return steps


def test_a_page_holds_what_its_worker_holds() -> None:
    node = shutil.which("node")
    assert node is not None, "needs the Debian package nodejs"
    cases, wanted = [], []
    for seed in range(SEEDS):
        rng = random.Random(seed)
        worker = Worker(_events(rng))
        cases.append(_steps(rng, worker))
        worker.go_on(EVENTS)
        wanted.append(worker.held())
    done = subprocess.run(
        [node, HERE / "fold_scan.mjs", STATIC],
        check=True,
        capture_output=True,
        input=json.dumps(cases).encode(),
        timeout=60 * PATIENCE,
    )
    for seed, (got, want) in enumerate(zip(json.loads(done.stdout), wanted, strict=True)):
        # A page of hosts may know a vulnerability before its event comes: it may not be the first.
        again = [finding for finding in got["findings"] if finding not in want["findings"]]
        assert all(finding[1] == "vulnerability" for finding in again), f"seed {seed}"
        got["findings"] = [finding for finding in got["findings"] if finding in want["findings"]]
        for name, value in want.items():
            assert got[name] == value, f"seed {seed}: {name}"
