"""A real nmap, piped into `emit`, seen in a real browser, in `tail`, and by a plain WebSocket client."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Dashboard, chromium
from tests.e2e.tailing import Tail
from tests.e2e.watching import Watchers
from tests.harness import PATIENCE, Pipeline, Process

SSH = b"SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.6\r\n"
FTP = b"220 (vsFTPd 3.0.3)\r\n"
HTTP = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.18.0\r\nContent-Type: text/html\r\n"
    b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"
)


class _Greeter(socketserver.BaseRequestHandler):
    """Says its line, then reads until the other side has gone."""

    greeting = b""

    def handle(self) -> None:
        try:
            self.request.sendall(self.greeting)
            while self.request.recv(4096):
                pass
        except OSError:
            pass


class _Web(socketserver.BaseRequestHandler):
    """Answers anything that looks like HTTP, and nothing else."""

    def handle(self) -> None:
        try:
            if self.request.recv(4096)[:3] in (b"GET", b"OPT", b"HEA", b"POS"):
                self.request.sendall(HTTP)
        except OSError:
            pass


@contextmanager
def _listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Listen with so many threads as come; give the port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _greeter(line: bytes) -> type[_Greeter]:
    return type("Greeter", (_Greeter,), {"greeting": line})


def _reported(report: Path) -> dict[int, tuple[str, str, str]]:
    """Return port -> (protocol, state, service) of nmap's own XML."""
    ports = {}
    for port in ET.parse(report).iter("port"):
        state, service = port.find("state"), port.find("service")
        assert state is not None
        name = service.get("name", "") if service is not None else ""
        ports[int(port.get("portid", 0))] = (port.get("protocol", ""), state.get("state", ""), name)
    return ports


@pytest.mark.system
@pytest.mark.timeout(180)
def test_nmap_piped_into_emit_shows_everywhere(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.start()
    report = tmp_path / "nmap.xml"
    with ExitStack() as stack:
        open_ports = [
            stack.enter_context(_listening(handler)) for handler in (_greeter(SSH), _greeter(FTP), _Web)
        ]
        # Bound, not listening: a connection is refused, and nobody else gets the port.
        shut = stack.enter_context(socket.socket())
        shut.bind(("127.0.0.1", 0))
        ports = [*open_ports, shut.getsockname()[1]]
        watchers = stack.enter_context(Watchers())
        reader = watchers.native(pipeline.ws("/ws/scans/demo"))
        tail = Tail(pipeline, "demo")
        stack.callback(tail.close)
        dashboard = Dashboard(stack.enter_context(chromium()).new_page(), pipeline.url)
        dashboard.open_scan("demo")
        dashboard.expect_connection("waiting")

        nmap = stack.enter_context(
            subprocess.Popen(
                [
                    *("nmap", "-sT", "-sV", "-p", ",".join(map(str, ports)), "127.0.0.1"),
                    *("-oX", "-", "--stats-every", "1s"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        )
        tee = stack.enter_context(
            subprocess.Popen(["tee", str(report)], stdin=nmap.stdout, stdout=subprocess.PIPE)
        )
        emit = Process(
            *("emit", "--from", "nmap", "--scan", "demo", "--run-dir", str(pipeline.run_dir)),
            stdin=tee.stdout,
        )
        stack.callback(emit.close)
        assert emit.wait(120) == 0, emit.errors
        assert (nmap.wait(5 * PATIENCE), tee.wait(5 * PATIENCE)) == (0, 0)

        reader.wait_for(lambda reader: b'"scanCompleted"' in bytes(reader.events[reader.epoch][reader.seq]))
        tail.wait_for('"scanCompleted"')
        tail.interrupt()
        dashboard.expect_status("completed")

        reported = _reported(report)
        assert set(reported) == set(ports)
        assert reported[shut.getsockname()[1]][1] == "closed"
        services = {port: reported[port][2] for port in open_ports}
        assert list(services.values()) == ["ssh", "ftp", "http"]

        (raw,) = reader.events.values()
        events = {seq: json.loads(event) for seq, event in raw.items()}
        assert tail.events() == events
        _expect_events(list(events.values()), reported)
        _expect_page(dashboard, reported)


def _expect_events(events: list[dict[str, object]], reported: dict[int, tuple[str, str, str]]) -> None:
    found = {
        event["port"]: (str(event["protocol"]).lower(), str(event["state"]).lower())
        for event in events
        if event["type"] == "portFound"
    }
    assert found == {port: entry[:2] for port, entry in reported.items()}
    services = {
        event["port"]: event["service_name"] for event in events if event["type"] == "serviceDetected"
    }
    assert services == {port: name for port, (_, state, name) in reported.items() if state == "open"}
    types = [event["type"] for event in events]
    assert (types[0], types[-1]) == ("scanStarted", "scanCompleted")
    assert [event["ip"] for event in events if event["type"] == "hostDiscovered"] == ["127.0.0.1"]


def _expect_page(dashboard: Dashboard, reported: dict[int, tuple[str, str, str]]) -> None:
    expect(dashboard.get("host-row")).to_have_count(1)
    row = dashboard.get("host-row")
    expect(row).to_have_attribute("data-ip", "127.0.0.1")
    expect(row.get_by_test_id("port-chip")).to_have_count(len(reported))
    shown = {
        int(chip.get_attribute("data-port") or 0): (
            (chip.get_attribute("data-protocol") or "").lower(),
            (chip.get_attribute("data-state") or "").lower(),
            chip.get_by_test_id("service-name").inner_text(),
        )
        for chip in row.get_by_test_id("port-chip").all()
    }
    assert shown == {
        port: (protocol, state, name if state == "open" else "")
        for port, (protocol, state, name) in reported.items()
    }
    expect(dashboard.get("progress")).to_have_attribute("aria-valuenow", "100")
    expect(dashboard.get("phase")).to_have_text("completed")
    assert dashboard.ledger()["missed"] == 0
    assert dashboard.problems == []


@pytest.mark.system
@pytest.mark.timeout(180)
def test_nmap_run_by_emit_is_seen_in_the_state_of_its_scan(pipeline: Pipeline) -> None:
    pipeline.start()
    with ExitStack() as stack:
        ports = [stack.enter_context(_listening(handler)) for handler in (_greeter(SSH), _Web)]
        emit = Process(
            *("emit", "--run", "--scan", "demo", "--name", "My scan", "--label", "site=hq"),
            *("--run-dir", str(pipeline.run_dir), "--"),
            *("nmap", "-sT", "-sV", "-p", ",".join(map(str, ports)), "127.0.0.1"),
        )
        stack.callback(emit.close)
        assert emit.wait(120) == 0, emit.lines
    status, state = pipeline.get("/api/scans/demo")
    assert status == 200
    assert {key: state[key] for key in ("status", "progress", "name", "targets", "labels", "nonsense")} == {
        "status": "completed",
        "progress": 100.0,
        "name": "My scan",
        "targets": ["127.0.0.1"],
        "labels": {"site": "hq"},
        "nonsense": 0,
    }
    (host,) = state["hosts"]
    assert (host["ip"], host["open_ports"]) == ("127.0.0.1", 2)
    assert {(port[0], port[2], port[3]) for port in host["ports"]} == {
        (ports[0], "Open", "ssh"),
        (ports[1], "Open", "http"),
    }
