"""Servers whose fan-out is compared: ours, the yardstick, and Python's. `_daemons.py` has the others.

Each is pinned to the server's core, listens on loopback only, and keeps what it writes in a directory of its
own. What publishes is on the other core, unless it is the server's own timer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _load import compiled, frames_file, masked
from _measuring import LOAD_CORE, SERVER_CORE, on_core

from pipeline import Emitter, settings
from pipeline.options import config_class
from tests.harness import Pipeline

SCAN = "fanout"
MAX_CONNECTIONS = 20_000
_pause = threading.Event()


class Server:
    """One server.

    Args:
        place: an empty directory, mode 0700, with a short path.
        messages: what is published, in turn; each a JSON text.
        deflate: whether it may compress.

    Attributes:
        name: how tables call it.
        pids: the processes that are measured.
        port: where it listens.
        path: where its WebSocket is.
        first: what a client sends once it is open, framed.
        protocol: the subprotocol a client asks for.
        unit: bytes of a message's payload, for a server that spreads messages over frames as it likes; or 0.
    """

    name = ""

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        self.place = place
        self.messages = messages
        self.deflate = deflate
        self.pids: list[int] = []
        self.port = 0
        self.path = "/"
        self.first = b""
        self.protocol = ""
        self.unit = 0

    @classmethod
    def missing(cls) -> str:
        """Return what is not installed, in words; empty when it can be started."""
        return ""

    def publish(self, count: int, interval_s: float) -> list[int]:
        """Send so many messages to every client, one each `interval_s`.

        Returns:
            The time before each, CLOCK_MONOTONIC ns.
        """
        sent = []
        due = time.monotonic()
        for number in range(count):
            _pause.wait(max(0.0, due - time.monotonic()))
            sent.append(time.monotonic_ns())
            self.publish_one(self.messages[number % len(self.messages)])
            due += interval_s
        return sent

    def publish_one(self, message: bytes) -> None:
        """Send one message; for servers that have no timer of their own."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""
        raise NotImplementedError


class Ours(Server):
    """A whole pipeline of ours; the edge is what is measured.

    The worker's frame budget is lifted, so that each event published is one frame at once.
    """

    name = "scanstream edge"
    WORKER = "[batch]\nbatch_interval_s = 0.001\nmax_frames_per_s = 1000\n"

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        known = {(key.section, key.key) for key in settings.keys(config_class("edge"))}
        limits = [
            key for key in ("max_connections", "max_connections_per_address") if ("limits", key) in known
        ]
        edge = "".join(f"{key} = {MAX_CONNECTIONS}\n" for key in limits)
        self._pipeline = Pipeline(place, shards=1)
        try:
            with on_core(LOAD_CORE):
                for name in ("throttle-batch-0", "ingest-0"):
                    self._pipeline.start_one(name, config={"throttle-batch": self.WORKER})
                    self._pipeline.processes[name].wait_for("ready")
            with on_core(SERVER_CORE):
                process = self._pipeline.start_edge(config={"edge": f"[limits]\n{edge}"})
            self._pipeline.wait_ready()
            with on_core(LOAD_CORE):
                self._emitter = Emitter(SCAN, run_dir=str(self._pipeline.run_dir))
                self._emitter.wait_ready(20)
                self._emitter.emit({"type": "scanStarted"})  # a scan that exists is not waited for
                self._emitter.flush(20)
        except BaseException:
            self._pipeline.close()
            raise
        self.pids = [process.popen.pid]
        self.port = self._pipeline.port
        self.path = f"/ws/scans/{SCAN}?since=start"
        self.protocol = "scanstream.v1.json"

    def publish_one(self, message: bytes) -> None:
        self._emitter.emit(message)

    def close(self) -> None:
        try:
            self._emitter.close(20)
        finally:
            self._pipeline.close()


class SelfTimed(Server):
    """A process that publishes by its own timer, told so on stdin."""

    def _start(self, command: list[str], environ: dict[str, str] | None = None) -> None:
        with on_core(SERVER_CORE):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
            )
        self.pids = [self._process.pid]
        self.port = int(self._hear("ready")[0])

    def _hear(self, wanted: str) -> list[bytes]:
        assert self._process.stdout is not None
        word, *rest = self._process.stdout.readline().split() or [b""]
        if word.decode() != wanted:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return rest

    def publish(self, count: int, interval_s: float) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"publish {count} {int(interval_s * 1e9)}\n".encode())
        self._process.stdin.flush()
        return [int(word) for word in self._hear("sent")]

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()


class SendLoop(SelfTimed):
    """The yardstick: frames composed before (and deflated before), `send()` to each socket."""

    name = "C send() loop"

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        frames_file(place / "frames", [server_frame(message, deflate=deflate) for message in messages])
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"{extension}\r\n"
        )
        (place / "answer").write_text(answer, newline="")
        self._start([compiled("_send_loop"), str(place / "frames"), str(place / "answer")])


def server_frame(message: bytes, *, deflate: bool) -> bytes:
    """Return the WebSocket frame of a text message, as a server sends it."""
    first = 0x81
    if deflate:
        deflater = zlib.compressobj(wbits=-15)
        message = (deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        first = 0xC1
    size = len(message)
    if size < 126:
        return bytes((first, size)) + message
    return bytes((first, 126)) + size.to_bytes(2, "big") + message


class PythonPeer(SelfTimed):
    """A server of `_python_peers.py`."""

    which = ""

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        frames_file(place / "messages", messages)
        program = Path(__file__).with_name("_python_peers.py")
        self._start([sys.executable, str(program), self.which, str(place / "messages"), str(int(deflate))])


class Tornado(PythonPeer):
    """Tornado's own way."""

    name, which = "Tornado write_message", "tornado"


class Websockets(PythonPeer):
    """The websockets library's."""

    name, which = "websockets broadcast", "websockets"


class SocketIO(SelfTimed):
    """Socket.IO on Node, WebSocket only."""

    name = "Socket.IO on Node"
    MODULES = Path(sys.prefix) / "peers" / "node_modules"

    def __init__(self, place: Path, messages: Sequence[bytes], *, deflate: bool) -> None:
        super().__init__(place, messages, deflate=deflate)
        frames_file(place / "messages", messages)
        program = Path(__file__).with_name("_socket_io.cjs")
        environ = {**os.environ, "NODE_PATH": str(self.MODULES)}
        self._start(["node", str(program), str(place / "messages"), str(int(deflate))], environ)
        self.path = "/socket.io/?EIO=4&transport=websocket"
        self.first = masked(b"40")

    @classmethod
    def missing(cls) -> str:
        there = shutil.which("node") and (cls.MODULES / "socket.io").exists()
        return "" if there else "socket.io for Node"
