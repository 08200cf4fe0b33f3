"""Real peers for one process of ours: ZeroMQ sockets, WebSockets and raw TCP, each used step by step.

Everything is synchronous, so that a test decides what happens when: it plays the producer, the workers or
the browser itself, and waits for facts only.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import select
import socket as tcp
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import zmq
from websockets.sync.client import ClientConnection, connect

from pipeline.endpoints import Endpoints
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import Binder, edge_control, shard_events, shard_history
from pipeline.wire import (
    Beacon,
    ChannelsReply,
    ChannelSummary,
    Feedback,
    Head,
    HistoryReply,
    HistoryRequest,
    StatsReply,
    StatsRequest,
    decode_edge_reply,
    decode_feedback,
    decode_history_reply,
    decode_history_request,
    encode,
    encode_beacon,
)
from tests.harness import PATIENCE, Process, deadline

WAIT_S = 15.0
SELDOM = {"PIPELINE_HEARTBEAT__INTERVAL_S": "1800", "PIPELINE_HEARTBEAT__CLIENT_TIMEOUT_S": "3600"}


class Peers:
    """ZeroMQ sockets beside the process under test.

    Args:
        run_dir: its run directory, or where else its sockets are.
    """

    def __init__(self, run_dir: Path | Endpoints) -> None:
        self.run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.binder = Binder(self._context, run_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.binder.close()
        self._context.term()

    def connect(self, kind: int, *names: str, subscribe: tuple[bytes, ...] = ()) -> zmq.Socket[bytes]:
        """Return a socket connected to the names of the process under test."""
        socket = self.binder.connect(kind, list(names), high_water_mark=100_000)
        socket.setsockopt(zmq.RCVTIMEO, int(WAIT_S * PATIENCE * 1000))
        socket.setsockopt(zmq.SNDTIMEO, int(WAIT_S * PATIENCE * 1000))
        for topic in subscribe:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        return socket

    def bind(self, kind: int, name: str) -> zmq.Socket[bytes]:
        """Return a socket bound to one of our names, in the place of another process."""
        socket = self.binder.bind(kind, name, high_water_mark=100_000)
        socket.setsockopt(zmq.RCVTIMEO, int(WAIT_S * PATIENCE * 1000))
        return socket


def receive(
    socket: zmq.Socket[bytes], wanted: Callable[[bytes], bool] = bool, seconds: float = WAIT_S
) -> bytes:
    """Return the next message that is wanted; the others are let go."""
    end = deadline(seconds)
    seen = []
    while (left := end - time.monotonic()) > 0:
        if socket.poll(int(left * 1000) + 1):
            message = socket.recv()
            if wanted(message):
                return message
            seen.append(message)
    raise AssertionError(f"nothing wanted came; {len(seen)} others did: {seen[:5]}")


def waiting(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return what has already come."""
    messages = []
    while socket.poll(0):
        messages.append(socket.recv())
    return messages


def feedback(socket: zmq.Socket[bytes], wanted: Callable[[Feedback], object]) -> Feedback:
    """Return the next feedback of a worker that is wanted."""
    return decode_feedback(
        receive(socket, lambda raw: raw.startswith(b"A|") and bool(wanted(decode_feedback(raw))))
    )


def ask(dealer: zmq.Socket[bytes], request: HistoryRequest) -> HistoryReply:
    """Ask a worker, and return its answer."""
    dealer.send(encode(request))
    return decode_history_reply(dealer.recv())


def counters(dealer: zmq.Socket[bytes]) -> dict[str, float]:
    """Ask a worker or an ingest for its counters."""
    reply = ask(dealer, StatsRequest(7))
    assert isinstance(reply, StatsReply)
    assert reply.id == 7
    return reply.counters


# --- the workers of an edge ---------------------------------------------------------------------------


def _topic(channel: str) -> bytes:
    return b"F|%b|" % channel.encode()


class PlayedWorkers:
    """All shards of an edge, played by a test: it publishes what it likes, and answers when it likes."""

    def __init__(self, peers: Peers, shards: int) -> None:
        self.shards = shards
        self.events = [peers.bind(zmq.XPUB, shard_events(shard)) for shard in range(shards)]
        self.history = [peers.bind(zmq.ROUTER, shard_history(shard)) for shard in range(shards)]
        self._topics: set[bytes] = set()
        self._early: set[bytes] = set()  # joined, and no test has asked for that yet
        self._poller = zmq.Poller()
        for socket in self.history:
            self._poller.register(socket, zmq.POLLIN)
        for socket in self.events:
            topics = {b"\x01H|", b"\x01A|"}
            while topics:  # the edge has subscribed: nothing is lost
                topics.discard(receive(socket))

    def publish(self, channel: str, message: bytes) -> None:
        self.events[shard_of(channel, self.shards)].send(message)

    def joined(self, channel: str) -> None:
        """Wait until the edge has subscribed to a channel."""
        if _topic(channel) in self._early:
            self._early.discard(_topic(channel))
        else:
            self._hear(channel, b"\x01")

    def see_joined(self, channel: str) -> None:
        """Wait until the edge is subscribed to a channel: what is published before is lost."""
        if _topic(channel) not in self._topics:
            self._hear(channel, b"\x01")
            self._early.add(_topic(channel))

    def left(self, channel: str) -> None:
        """Wait until the edge has unsubscribed from a channel."""
        self._hear(channel, b"\x00")

    def _hear(self, channel: str, wanted: bytes) -> None:
        def note(raw: bytes) -> bool:
            if raw.startswith(b"\x01"):
                self._topics.add(raw[1:])
            else:
                self._topics.discard(raw[1:])
                self._early.discard(raw[1:])
            return raw == wanted + _topic(channel)

        receive(self.events[shard_of(channel, self.shards)], note)

    def beacon(
        self,
        shard: int,
        heads: list[Head] | None = None,
        gone: list[tuple[str, int]] | None = None,
        *,
        writable: bool = True,
    ) -> None:
        self.events[shard].send(
            encode_beacon(Beacon(shard, self.shards, HASH_NAME, "boot", heads or [], gone or [], writable))
        )

    def question(self, seconds: float = WAIT_S) -> tuple[int, bytes, HistoryRequest]:
        """Return the edge's next question: (shard, peer, request)."""
        for socket, _ in self._poller.poll(seconds * PATIENCE * 1000):
            peer, raw = socket.recv_multipart()
            return self.history.index(socket), peer, decode_history_request(raw)
        raise AssertionError("the edge asks nothing")

    def asked(self, seconds: float) -> Iterator[tuple[int, bytes, HistoryRequest]]:
        """Yield the edge's questions, as `question` gives them, until none has come for so long."""
        while self._poller.poll(seconds * 1000):
            yield self.question(seconds)

    def unasked(self) -> list[HistoryRequest]:
        """Return the questions that have come and nobody has looked at."""
        asked = []
        while self._poller.poll(0):
            asked.append(self.question(0.1)[2])
        return asked

    def answer(self, shard: int, peer: bytes, reply: bytes) -> None:
        self.history[shard].send_multipart((peer, reply))

    def answer_channels(self, summaries: list[ChannelSummary]) -> None:
        """Answer a question for all channels, which goes to every shard."""
        for _ in range(self.shards):
            shard, peer, request = self.question()
            mine = [each for each in summaries if shard_of(each.channel, self.shards) == shard]
            self.answer(shard, peer, encode(ChannelsReply(request.id, shard, mine)))


# --- the browsers of an edge --------------------------------------------------------------------------


class Edge:
    """An edge process of its own, on a free port.

    Args:
        place: an empty directory; the run directory is in it.
        toml: its config file.
        args: further arguments.
    """

    def __init__(self, place: Path, toml: str = "", shards: int = 1, args: tuple[str, ...] = ()) -> None:
        config = place / "edge.toml"
        config.write_text(toml)
        self.place = place
        self.process = Process(
            "edge", "--run-dir", str(place), "--shards", str(shards), "--log-format", "json",
            "--log-level", "debug", "-c", str(config), *(args or ("--port", "0")),
            # Workers that a test plays send few beacons, and a slow machine is given many signs of life; only
            # where it asks for it does that count.
            env=({} if "silent_s" in toml else {"PIPELINE_UPSTREAM__SILENT_S": "600"})
            | ({} if "[heartbeat]" in toml else SELDOM),
        )  # fmt: skip
        ready = self.process.wait_for("ready")
        self.port = urlsplit(ready["edge"]).port or 0

    def browser(self, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket; close it, or use it as a context."""
        options.setdefault("max_size", None)
        options.setdefault("compression", None)
        return connect(
            f"ws://127.0.0.1:{self.port}{path}", open_timeout=WAIT_S * PATIENCE, close_timeout=1, **options
        )

    @contextmanager
    def request(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        """Send a request; read its answer with `answer`, after whatever must happen before."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S * PATIENCE)) as http_:
            http_.request(method, path, headers=headers or {})
            yield http_

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return (status, JSON) of a GET that needs no worker."""
        with self.request(path, headers=headers) as sent:
            return answer(sent)

    def raw(self, path: str, headers: dict[str, str] | None = None, receive_buffer: int = 0) -> RawBrowser:
        return RawBrowser(self.port, path, headers or {}, receive_buffer)

    def wait_for(self, counter: str, least: float) -> None:
        """Wait until one of its counters has come so far."""
        end = deadline(WAIT_S)
        with Peers(self.place) as peers:
            control = peers.connect(zmq.DEALER, edge_control(0))
            while True:
                control.send(encode(StatsRequest(7)))
                reply = decode_edge_reply(control.recv())
                assert isinstance(reply, StatsReply)
                if reply.counters.get(counter, 0.0) >= least:
                    return
                assert time.monotonic() < end, f"{counter} is not {least}: {reply.counters}"
                control.poll(20)

    def stop(self) -> dict[str, Any]:
        """Stop it; return its counters."""
        assert self.process.terminate() == 0
        return self.process.lines[-1]

    def close(self) -> None:
        self.process.close()


def answer(sent: http.client.HTTPConnection) -> tuple[int, Any]:
    """Return (status, JSON, or text) of the answer."""
    response = sent.getresponse()
    body = response.read()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, body.decode()


class RawBrowser:
    """A WebSocket client that does nothing by itself: it neither pongs nor reads.

    Attributes:
        status: the HTTP status of the upgrade.
        head: its response, up to the empty line.
    """

    def __init__(self, port: int, path: str, headers: dict[str, str], receive_buffer: int) -> None:
        self.socket = tcp.socket()
        if receive_buffer:
            self.socket.setsockopt(tcp.SOL_SOCKET, tcp.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT_S * PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        given = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **headers,
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            more = self.socket.recv(65_536)
            if not more:
                break
            self._data += more
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        self.status = int(self.head.split(" ")[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def frame(self) -> tuple[int, bytes] | None:
        """Return (opcode, payload) of the next frame; None at the end of the connection."""
        head = self._take(2)
        if head is None:
            return None
        size = head[1]
        if size >= 126:
            longer = self._take(2 if size == 126 else 8)
            assert longer is not None
            size = int.from_bytes(longer, "big")
        payload = self._take(size)
        assert payload is not None
        return head[0] & 0x0F, payload

    def arrived(self) -> bool:
        """Say whether something has come that was not read."""
        return bool(self._data or select.select([self.socket], [], [], 0.001)[0])

    def until_close(self) -> tuple[list[tuple[int, bytes]], int, str]:
        """Read on to the close frame; return (the frames before it, its code, its reason)."""
        before = []
        while (frame := self.frame()) is not None:
            opcode, payload = frame
            if opcode == 0x8:
                return before, int.from_bytes(payload[:2], "big"), payload[2:].decode()
            before.append(frame)
        raise AssertionError(f"ended without a close frame, after {before[-3:]}")

    def after_close(self) -> bytes:
        """Answer the close frame; return whatever still comes until the connection ends."""
        self.send(0x8, (1000).to_bytes(2, "big"))
        rest = self._data
        while more := self.socket.recv(65_536):
            rest += more
        return rest

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a masked frame; its mask is zero."""
        size = len(payload)
        assert size < 65_536
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.socket.sendall(bytes((0x80 | opcode,)) + length + b"\0\0\0\0" + payload)

    def _take(self, size: int) -> bytes | None:
        while len(self._data) < size:
            more = self.socket.recv(65_536)
            if not more:
                assert not self._data, f"ended inside a frame: {self._data[:80]!r}"
                return None
            self._data += more
        taken, self._data = self._data[:size], self._data[size:]
        return taken
