"""Centrifugo, whose fan-out is compared where its binary is found (`command -v centrifugo`).

Runs in the foreground with a configuration written here. A client asks to connect and to subscribe in one
message, in Centrifugo's JSON protocol.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path

from _daemons import Daemon
from _load import masked
from _measuring import free_port


class Centrifugo(Daemon):
    """One Centrifugo with its memory engine."""

    name = "Centrifugo"

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        self.port = free_port()
        config = {
            "http_server": {"address": "127.0.0.1", "port": str(self.port)},
            "http_api": {"insecure": True},
            # The load answers no pings.
            "client": {
                "insecure": True,
                "allowed_origins": ["*"],
                "ping_interval": "600s",
                "pong_timeout": "30s",
            },
            "websocket": {"compression": deflate},
            "log": {"level": "error"},
        }
        (place / "centrifugo.json").write_text(json.dumps(config))
        self._start(["centrifugo", "-c", str(place / "centrifugo.json")], self.port)
        self.path = "/connection/websocket"
        self.first = masked(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"fanout"}}')
        self._http = HTTPConnection("127.0.0.1", self.port, timeout=20)

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("centrifugo") else "centrifugo"

    def publish_one(self, message: bytes) -> None:
        body = b'{"channel":"fanout","data":%b}' % message
        self._http.request("POST", "/api/publish", body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        said = answer.read()
        if answer.status != 200 or b'"error"' in said:
            raise SystemExit(f"{self.name}: {answer.status} to a message: {said[:200]!r}")

    def close(self) -> None:
        self._http.close()
        super().close()
