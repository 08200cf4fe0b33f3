"""A webhook's receiver: a real HTTP server, told step by step what to answer."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.harness import PATIENCE

WAIT_S = 20.0


class Received(NamedTuple):
    """One request: its path, headers by lower-case names, and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """The body as JSON."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def id(self) -> str:
        """What names the message."""
        return self.headers["webhook-id"]


class Receiver:
    """Answers 204 unless told otherwise.

    Args:
        port: where to listen; 0 for any free one.

    Attributes:
        answers: what the next requests are answered with: (status, headers), or None to not answer at all
            until the receiver is closed.
        hanging: set while a request is not answered.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: queue.Queue[tuple[int, dict[str, str]] | None] = queue.Queue()
        self.hanging = threading.Event()
        self._received: queue.Queue[Received] = queue.Queue()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._received.put(Received(request.path, headers, body))
        try:
            answer = self.answers.get_nowait()
        except queue.Empty:
            answer = (204, {})
        if answer is None:
            self.hanging.set()
            self._closing.wait(60 * PATIENCE)
            request.close_connection = True
            return
        status, more = answer
        request.send_response(status)
        for name, value in more.items():
            request.send_header(name, value)
        request.send_header("content-length", "0")
        request.end_headers()

    def next(self, seconds: float = WAIT_S) -> Received:
        """Return the next request."""
        return self._received.get(timeout=seconds * PATIENCE)

    def waiting(self) -> list[Received]:
        """Return what has come and nobody has looked at."""
        found = []
        while not self._received.empty():
            found.append(self._received.get())
        return found

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """Give a receiver."""
    running = Receiver(port)
    try:
        yield running
    finally:
        running.close()
