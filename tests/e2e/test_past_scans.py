"""Scans that ended and left memory: listed, opened, exported, compared, deleted; over restarts and kills."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipeline import Emitter
from tests.faults.crashing import kill
from tests.harness import PATIENCE, Pipeline, Process, deadline

SOON = {"throttle-batch": "[cleanup]\ncleanup_after_s = 0.1\n"}
EVIL = "=cmd|' /C calc'!A0\"</td><script>alert(1)</script>\u202e\x1b[31m"


def scan_events(**about: object) -> list[dict[str, object]]:
    return [
        {"type": "scanStarted", **about},
        {"type": "hostDiscovered", "ip": "10.0.0.1", "hostname": EVIL},
        {"type": "portFound", "ip": "10.0.0.1", "port": 22, "protocol": "TCP", "state": "Open"},
        {"type": "serviceDetected", "ip": "10.0.0.1", "port": 22, "service_name": "ssh", "version": EVIL},
        {
            "type": "vulnerabilityFound",
            "ip": "10.0.0.1",
            "severity": "High",
            "title": EVIL,
            "cve_id": "C-1",
        },
        {"type": "hostDiscovered", "ip": "10.0.0.2"},
    ]


LATER: list[dict[str, object]] = [
    {"type": "portFound", "ip": "10.0.0.1", "port": 80, "protocol": "TCP", "state": "Open"},
    {"type": "vulnerabilityFound", "ip": "10.0.0.1", "severity": "Low", "title": EVIL, "cve_id": "C-1"},
    {"type": "hostDiscovered", "ip": "10.0.0.3"},
]
END: dict[str, object] = {"type": "scanCompleted"}


def send(pipeline: Pipeline, scan_id: str, *events: dict[str, object]) -> None:
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for event in events:
            emitter.emit(event, scan_id=scan_id)


def past(pipeline: Pipeline, query: str = "") -> list[dict[str, Any]]:
    status, answer = pipeline.get(f"/api/scans?past=true{query}")
    assert status == 200, answer
    assert answer["complete"]
    return list(answer["scans"])


def wait_past(pipeline: Pipeline, *scan_ids: str) -> list[dict[str, Any]]:
    """Wait until just these are past scans, the latest first."""
    end = deadline(20)
    while True:
        found = past(pipeline)
        if [scan["scan_id"] for scan in found] == list(scan_ids):
            return found
        assert time.monotonic() < end, found


def ask(pipeline: Pipeline, method: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(f"{pipeline.url}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20 * PATIENCE) as response:
            return response.status, response.read(), dict(response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def command(pipeline: Pipeline, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "scan", *args, "--edge", pipeline.url],
        capture_output=True, timeout=60 * PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_scan_that_ended_is_listed_opened_exported_compared_and_deleted(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.start(config=SOON)
    about = {"targets": ["10.0.0.0/30"], "labels": {"site": "Berlin"}}
    send(pipeline, "old", *scan_events(name="weekly one", **about), END)
    wait_past(pipeline, "old")
    send(pipeline, "new", *scan_events(name="weekly two", **about), *LATER, END)
    send(pipeline, "other", {"type": "scanStarted", "targets": ["192.0.2.1"]}, END)
    send(pipeline, "live", {"type": "scanStarted"})
    end = deadline(20)
    while len(past(pipeline)) < 3:
        assert time.monotonic() < end
    kill(pipeline, "throttle-batch-0")
    pipeline.start_one("throttle-batch-0", config=SOON).wait_for("ready")
    pipeline.wait_ready()

    assert {scan["scan_id"] for scan in past(pipeline)} == {"old", "new", "other"}
    assert [scan["scan_id"] for scan in past(pipeline, "&search=berlin%20WEEKLY")] == ["new", "old"]
    assert past(pipeline, "&search=nowhere") == []
    (entry,) = past(pipeline, "&search=two")
    assert (entry["status"], entry["event_count"], entry["totals"]["hosts"]) == ("completed", 10, 3)

    status, state = pipeline.get("/api/scans/new")
    assert (status, state["cleaned_up"], state["totals"]["open_ports"]) == (200, True, 2)
    assert len(pipeline.get("/api/scans/new/events")[1]["events"]) == 10
    filtered = pipeline.get("/api/scans/new/events?types=portFound&cidr=10.0.0.1")[1]
    assert [event["type"] for event in filtered["events"]] == [
        "scanStarted", "portFound", "portFound", "scanCompleted",
    ]  # fmt: skip
    assert (filtered["filtered"], filtered["at"]) == (6, [0, 2, 6, 9])
    assert pipeline.get("/api/scans/new/events?cidr=everywhere")[0] == 400

    with urllib.request.urlopen(f"{pipeline.url}/sse/scans/new", timeout=20 * PATIENCE) as stream:
        line = next(line for line in stream if b'"type":"snapshot"' in line)
    assert json.loads(line.removeprefix(b"data: "))["state"]["totals"]["hosts"] == 3

    for form in ("json", "ndjson", "csv", "html"):
        status, body, headers = ask(pipeline, "GET", f"/api/scans/new/export?format={form}")
        assert status == 200
        assert headers["Content-Disposition"] == f'attachment; filename="scan-new.{form}"'
        target = tmp_path / f"file.{form}"
        done = command(pipeline, "export", "new", "--format", form, "-o", str(target))
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert target.read_bytes() == body == command(pipeline, "export", "new", "--format", form).stdout
    document = json.loads((tmp_path / "file.json").read_bytes())
    assert [host["ip"] for host in document["hosts"]] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    lines = [json.loads(line) for line in (tmp_path / "file.ndjson").read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, 11))
    assert lines[-1]["event"]["type"] == "scanCompleted"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "file.csv").read_text())))
    assert [(row["ip"], row["port"]) for row in rows] == [
        ("10.0.0.1", "22"), ("10.0.0.1", "80"), ("10.0.0.2", ""), ("10.0.0.3", ""),
    ]  # fmt: skip
    assert rows[0]["version"].startswith("'=cmd|")
    report = (tmp_path / "file.html").read_text()
    assert "<script" not in report
    assert "&lt;script&gt;alert(1)&lt;/script&gt;·[31m" in report

    status, compared = pipeline.get("/api/scans/new/compare")
    assert status == 200, compared
    assert compared["with"]["scan_id"] == "old"
    assert compared["counts"]["hosts"] == {"new": 1, "gone": 0, "changed": 1, "same": 1}
    assert compared["counts"]["vulnerabilities"] == {"new": 0, "gone": 0, "changed": 1, "same": 0}
    assert pipeline.get("/api/scans/old/compare")[0] == 404, "there is none before it"
    shown = command(pipeline, "compare", "new", "old").stdout.decode()
    assert "+ 10.0.0.3" in shown
    assert "+ 80/tcp" in shown
    assert "\x1b" not in shown

    assert ask(pipeline, "DELETE", "/api/scans/live")[:2] == (
        409, b'{"error":"the scan is running: it can be deleted once it has ended"}'
    )  # fmt: skip
    assert ask(pipeline, "DELETE", "/api/scans/nobody")[0] == 404
    assert ask(pipeline, "DELETE", "/api/scans/old", Origin="http://evil.example")[0] == 403
    assert ask(pipeline, "DELETE", "/api/scans/old", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert ask(pipeline, "POST", "/api/scans/old")[0] == 405
    refused = command(pipeline, "rm", "old")
    assert (refused.returncode, b"--yes" in refused.stderr) == (2, True)
    assert {scan["scan_id"] for scan in past(pipeline)} == {"old", "new", "other"}
    assert command(pipeline, "rm", "old", "--yes").stdout == b"deleted old\n"
    failed = command(pipeline, "rm", "old", "other", "--yes")
    assert (failed.returncode, failed.stdout) == (1, b"deleted other\n")
    assert [scan["scan_id"] for scan in past(pipeline)] == ["new"]
    assert pipeline.get("/api/scans/old")[0] == 404
    listed = command(pipeline, "list").stdout.decode().splitlines()
    assert [line.split()[:2] for line in listed] == [
        ["SCAN", "STATUS"],
        ["live", "running"],
        ["new", "completed"],
    ]
    running = command(pipeline, "list", "--running").stdout.decode().splitlines()
    assert [line.split()[0] for line in running] == ["SCAN", "live"]
    found = command(pipeline, "list", "--past", "--json").stdout.splitlines()
    assert [json.loads(line)["scan_id"] for line in found] == ["new"]
    assert command(pipeline, "list", "--search", "nowhere").stderr == b"no scans\n"
    for arguments in (
        ("show", "no"),
        ("export", "no"),
        ("compare", "no"),
        ("compare", "new", "no"),
        ("rm", "--yes", "no"),
    ):
        assert command(pipeline, *arguments).stderr == b"error: no such scan: no\n"
    assert b"weekly two" in command(pipeline, "show", "new").stdout


def test_a_deletion_outlives_a_kill_and_a_scan_of_that_id_is_a_new_life(pipeline: Pipeline) -> None:
    pipeline.start(config=SOON)
    send(pipeline, "a", *scan_events(), *LATER * 500, END)
    epoch = wait_past(pipeline, "a")[0]["epoch"]
    status, body, _ = ask(pipeline, "DELETE", "/api/scans/a")
    assert (status, json.loads(body)) == (200, {"scan_id": "a", "deleted": [epoch]})
    kill(pipeline, "throttle-batch-0")  # its events are in the file still, or some of them
    pipeline.start_one("throttle-batch-0", config=SOON).wait_for("ready")
    pipeline.wait_ready()
    assert past(pipeline) == []
    for path in ("", "/hosts", "/events", "/export", f"/events?since={epoch}:1", f"/hosts?epoch={epoch}"):
        assert pipeline.get(f"/api/scans/a{path}")[0] == 404, path
    send(pipeline, "a", {"type": "scanStarted"}, END)
    (again,) = wait_past(pipeline, "a")
    assert again["epoch"] > epoch
    assert again["event_count"] == 2


def test_an_earlier_life_of_an_id_is_kept_beside_the_present_one(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.start(config=SOON)
    send(pipeline, "nightly", *scan_events(), END)
    (first,) = wait_past(pipeline, "nightly")
    send(pipeline, "nightly", *scan_events(), *LATER, END)
    second, again = wait_past(pipeline, "nightly", "nightly")
    assert (again["epoch"], again["present"], second["present"]) == (first["epoch"], False, True)
    name = f"nightly@{first['epoch']}"
    assert name.encode() in command(pipeline, "list").stdout
    assert pipeline.get(f"/api/scans/nightly?epoch={first['epoch']}")[1]["totals"]["hosts"] == 2
    assert pipeline.get("/api/scans/nightly")[1]["totals"]["hosts"] == 3
    compared = pipeline.get("/api/scans/nightly/compare")[1]
    assert compared["with"]["epoch"] == first["epoch"], "of a scan that names no targets: of the same id"
    played = tmp_path / "first.ndjson"
    assert command(pipeline, "export", name, "--format", "ndjson", "-o", str(played)).returncode == 0
    replayed = Process(
        "emit",
        "--replay",
        str(played),
        "--speed",
        "0",
        "--scan",
        "played",
        "--run-dir",
        str(pipeline.run_dir),
    )
    assert replayed.wait(60) == 0
    replayed.close()
    wait_past(pipeline, "played", "nightly", "nightly")
    assert (
        pipeline.get("/api/scans/played")[1]["totals"]
        == pipeline.get(f"/api/scans/nightly?epoch={first['epoch']}")[1]["totals"]
    )
    assert command(pipeline, "rm", name, "--yes").returncode == 0
    assert [scan["epoch"] for scan in past(pipeline, "&search=nightly")] == [second["epoch"]]


@pytest.mark.parametrize("asked", ["/ws/scans/a", "/ws/scans/a?since=start"])
def test_a_reader_of_a_scan_that_is_deleted_is_let_go(pipeline: Pipeline, asked: str) -> None:
    from websockets.sync.client import connect

    pipeline.start(config=SOON)
    send(pipeline, "a", *scan_events(), END)
    wait_past(pipeline, "a")
    with connect(pipeline.ws(asked), open_timeout=20 * PATIENCE) as browser:
        while json.loads(browser.recv(20 * PATIENCE))["type"] == "hello":
            pass
        assert ask(pipeline, "DELETE", "/api/scans/a")[0] == 200
        messages = [json.loads(message) for message in browser]
    assert (browser.close_code, browser.close_reason) == (1000, "Scan completed")
    assert [message["type"] for message in messages if message["type"] == "reset"] == []
