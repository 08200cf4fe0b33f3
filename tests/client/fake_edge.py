"""The far side of a client: a WebSocket server that says what a test tells it to, connection by connection.

For what a real edge does rarely, or not yet: a gap, a lag with critical events in it, a snapshot, silence.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.harness import PATIENCE

SUBPROTOCOL = "scanstream.v1.json"
TOKEN_PROTOCOL = "scanstream.token."
SCAN = "demo"


class Far:
    """One connection, as the server has it.

    Attributes:
        path: the address asked for, with its query.
        at: when it was opened, monotonic seconds.
        token: what it brought as `Authorization: Bearer`, or as a subprotocol; None without.
    """

    def __init__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.path = connection.request.path
        self.at = time.monotonic()
        self.token = _token(connection.request.headers)
        self._connection = connection

    def say(self, type_: str, **fields: Any) -> None:
        """Send a message."""
        self._connection.send(json.dumps({"type": type_, "scan_id": SCAN, **fields}))

    def hello(self, epoch: int | None = 1, seq: int = 0, **fields: Any) -> None:
        """Greet the client; it may ask after two intervals of 5 s, if nothing else is told."""
        told = {
            "connection_id": "c",
            "resumed": None if "since=start" in self.path else True,
            "ping_interval": 5.0,
            "client_timeout": 30.0,
            "server_version": "0",
            "features": ["ping"],
        }
        self.say("hello", epoch=epoch, seq=seq, **{**told, **fields})

    def batch(self, first: int, last: int, epoch: int = 1, type_: str = "x") -> None:
        """Send events; each says its number."""
        events = [{"type": type_, "n": number} for number in range(first, last + 1)]
        self.say("batch", epoch=epoch, seq=[first, last], merged=0, filtered=0, events=events)

    def lag(self, first: int, last: int, skipped: int) -> None:
        """Say that events are left out."""
        self.say(
            "lag", scanId=SCAN, skippedMessages=skipped, **{"from": first, "to": last}, reason="too_slow"
        )

    def raw(self, text: str) -> None:
        """Send whatever this is."""
        self._connection.send(text)

    def heard(self, seconds: float = 20) -> Any:
        """Return the next message of the client."""
        return json.loads(self._connection.recv(timeout=seconds * PATIENCE))

    def close(self, code: int = 1000, **closing: Any) -> None:
        """Close the connection, with a `closing` message before if its fields are given."""
        if closing:
            self.say("closing", code=code, **closing)
        self._connection.close(code)

    def wait_left(self, seconds: float = 30) -> None:
        """Wait until the client closes the connection; what it sends meanwhile is passed over."""
        end = time.monotonic() + seconds * PATIENCE
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._connection.recv(timeout=max(0.0, end - time.monotonic()))


def _token(headers: Headers) -> str | None:
    bearer = headers.get("Authorization")
    if bearer is not None:
        return bearer.removeprefix("Bearer ")
    for offered in headers.get("Sec-WebSocket-Protocol", "").split(", "):
        if offered.startswith(TOKEN_PROTOCOL):
            return offered.removeprefix(TOKEN_PROTOCOL)
    return None


Script = Callable[[Far], None]


class FakeEdge:
    """Args:
    scripts: what is done on the first connection, on the second, and so on; the last on all that follow. A
        connection ends with its script.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._opened: queue.Queue[Far] = queue.Queue()
        self._count = 0
        self.failures: list[BaseException] = []

    def __enter__(self) -> Self:
        self._server = serve(
            self._serve, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        if error is None:
            assert self.failures == []

    @property
    def url(self) -> str:
        """The address to give a client."""
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/"

    def next(self, seconds: float = 30) -> Far:
        """Return the next connection, once it is opened."""
        return self._opened.get(timeout=seconds * PATIENCE)

    def _serve(self, connection: ServerConnection) -> None:
        far = Far(connection)
        script = self._scripts[min(self._count, len(self._scripts) - 1)]
        self._count += 1
        self._opened.put(far)
        try:
            script(far)
        except ConnectionClosed:
            pass
        except BaseException as error:  # noqa: BLE001  # told to the test
            self.failures.append(error)
