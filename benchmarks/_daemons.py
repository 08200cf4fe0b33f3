"""Servers whose fan-out is compared and that are installed on the machine: nginx with nchan, nats-server.

Each runs in the foreground with a configuration written here, never the machine's.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection

from _load import masked
from _measuring import SERVER_CORE, free_port, on_core
from _servers import MAX_CONNECTIONS, Server

NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_pause = threading.Event()


class Daemon(Server):
    """A server installed on the machine, with a configuration of ours in the foreground.

    Attributes:
        processes: how many it has; all are measured.
    """

    processes = 1

    def _start(self, command: list[str], *ports: int) -> None:
        log = (self.place / "log").open("wb")
        with on_core(SERVER_CORE), log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.place
            )
        for port in ports:
            self._await_port(port)
        end = time.monotonic() + 20
        while len(self.pids) < self.processes and time.monotonic() < end:
            self.pids = [self._process.pid, *children(self._process.pid)]
            _pause.wait(0.05)
        assert len(self.pids) == self.processes, self.pids

    def _await_port(self, port: int) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    said = (self.place / "log").read_text(errors="replace")[-500:]
                    self.close()
                    raise SystemExit(f"{self.name} does not start: {said}") from None
                _pause.wait(0.05)
            else:
                return

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


class Nchan(Daemon):
    """nginx with nchan: a master, which does nothing, and one worker."""

    name = "nginx nchan"
    processes = 2
    CONFIG = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {limit};
error_log {place}/error.log;
pid {place}/pid;
load_module {module};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    nchan_shared_memory_size 256m;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id fanout;
            nchan_message_timeout 30s;
            nchan_deflate_message_for_websocket {deflate};
        }}
        location = /subscribe {{
            nchan_subscriber websocket;
            nchan_channel_id fanout;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        self.port = free_port()
        config = self.CONFIG.format(
            user="user root;" if Path("/proc/self").stat().st_uid == 0 else "",
            limit=MAX_CONNECTIONS,
            connections=MAX_CONNECTIONS - 100,
            place=place,
            module=NCHAN_MODULE,
            port=self.port,
            deflate="on" if deflate else "off",
        )
        (place / "nginx.conf").write_text(config)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self._start(
            [nginx, "-p", str(place), "-e", f"{place}/error.log", "-c", f"{place}/nginx.conf"], self.port
        )
        self.path = "/subscribe"
        self._http = HTTPConnection("127.0.0.1", self.port, timeout=20)

    @classmethod
    def missing(cls) -> str:
        there = NCHAN_MODULE.exists() and (shutil.which("nginx") or Path("/usr/sbin/nginx").exists())
        return "" if there else "nginx with libnginx-mod-nchan"

    def publish_one(self, message: bytes) -> None:
        self._http.request("POST", "/publish", message, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        answer.read()
        if answer.status not in (201, 202):
            raise SystemExit(f"{self.name}: {answer.status} to a message")

    def close(self) -> None:
        self._http.close()
        super().close()


class Nats(Daemon):
    """nats-server's own WebSocket listener."""

    name = "nats-server WebSocket"
    CONFIG = """
listen: "127.0.0.1:{own}"
max_connections: {connections}
ping_interval: "10m"
websocket {{
    listen: "127.0.0.1:{port}"
    no_tls: true
    compression: {deflate}
    handshake_timeout: "60s"
}}
"""

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        own, self.port = free_port(), free_port()
        config = self.CONFIG.format(
            own=own, port=self.port, connections=MAX_CONNECTIONS, deflate="true" if deflate else "false"
        )
        (place / "nats.conf").write_text(config)
        nats = shutil.which("nats-server") or "/usr/sbin/nats-server"
        self._start([nats, "-c", str(place / "nats.conf")], own, self.port)
        hello = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
        self.first = masked(hello + b"SUB fanout 1\r\n", opcode=2)
        if not deflate:  # one segment of its buffers is one frame
            self.unit = len(b"MSG fanout 1 %d\r\n" % len(messages[0])) + len(messages[0]) + 2
        self._connection = create_connection(("127.0.0.1", own), timeout=20)
        self._connection.recv(65_536)  # its INFO
        self._connection.sendall(hello)

    @classmethod
    def missing(cls) -> str:
        there = shutil.which("nats-server") or Path("/usr/sbin/nats-server").exists()
        return "" if there else "nats-server"

    def publish_one(self, message: bytes) -> None:
        self._connection.sendall(b"PUB fanout %d\r\n%b\r\n" % (len(message), message))

    def close(self) -> None:
        self._connection.close()
        super().close()
