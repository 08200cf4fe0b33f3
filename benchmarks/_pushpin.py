"""Pushpin, whose fan-out is compared: its four processes, and the web server behind it that it asks.

A WebSocket reaches that server as HTTP requests; its answer to the first one subscribes the client. Runs in
the foreground with a configuration written here, never the machine's.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from _daemons import Daemon
from _measuring import free_port

INTERNAL = Path("/usr/lib/pushpin/internal.conf")
_SUBSCRIBE = b'c:{"type":"subscribe","channel":"fanout"}'


class _Behind(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Accept a WebSocket, and subscribe it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"OPEN\r\nTEXT %x\r\n%b\r\n" % (len(_SUBSCRIBE), _SUBSCRIBE)
        self.send_response(200)
        self.send_header("Content-Type", "application/websocket-events")
        self.send_header("Sec-WebSocket-Extensions", "grip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: Pushpin goes away first."""


class Pushpin(Daemon):
    """Pushpin with all its processes on the server's core."""

    name = "Pushpin"
    processes = 5
    CONFIG = """
[global]
rundir={place}
ipc_prefix=p-
port_offset=0
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={place}
log_level=1
client_buffer_size=8192
client_maxconn=20000
condure_bin=condure
zurl_bin=zurl
[proxy]
routesfile={place}/routes
updates_check=off
{proxy}
[handler]
push_in_spec=ipc://{place}/p-push
push_in_http_addr=127.0.0.1
push_in_http_port={publish}
command_spec=ipc://{place}/p-command
stats_spec=ipc://{place}/p-stats
message_rate=10000000
message_hwm=1000000
message_wait=5000
{handler}
"""

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        self._behind = _Server(("127.0.0.1", 0), _Behind)
        threading.Thread(target=self._behind.serve_forever, daemon=True).start()
        self.port, publish = free_port(), free_port()
        (place / "routes").write_text(f"* 127.0.0.1:{self._behind.server_port},over_http\n")
        # How its processes reach each other stands in a file of the package; it has one absolute path.
        text = INTERNAL.read_text().replace("ipc:///var/run/zurl/zurl-", f"ipc://{place}/p-zurl-")
        proxy, _, handler = text.partition("[handler]")
        config = self.CONFIG.format(
            place=place,
            port=self.port,
            publish=publish,
            proxy=proxy.replace("[proxy]", ""),
            handler=handler,
        ).replace("{rundir}/{ipc_prefix}", f"{place}/p-")
        (place / "pushpin.conf").write_text(config)
        self._start(["pushpin", f"--config={place}/pushpin.conf"], self.port, publish)
        self._http = HTTPConnection("127.0.0.1", publish, timeout=20)

    @classmethod
    def missing(cls) -> str:
        there = shutil.which("pushpin") and shutil.which("condure") and shutil.which("zurl")
        return "" if there and INTERNAL.exists() else "pushpin with condure and zurl"

    def publish_one(self, message: bytes) -> None:
        item = {"channel": "fanout", "formats": {"ws-message": {"content": message.decode()}}}
        self._http.request("POST", "/publish/", json.dumps({"items": [item]}))
        answer = self._http.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name}: {answer.status} to a message")

    def close(self) -> None:
        self._http.close()
        super().close()
        self._behind.shutdown()
        self._behind.server_close()
