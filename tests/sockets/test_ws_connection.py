"""One WebSocket connection between two sockets: how it ends, and whom an error of its reader concerns."""

from __future__ import annotations

import asyncio
import logging
import socket as tcp
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq

from pipeline.edge import ws_connection
from pipeline.edge.close_codes import DRAINING, CloseCode
from pipeline.edge.config import EdgeConfig
from pipeline.edge.reader import Figures
from pipeline.edge.service import Service
from pipeline.edge.transmit_socket import SocketTransmitter
from pipeline.edge.variant import Variant
from pipeline.edge.ws_connection import WebSocketConnection
from pipeline.edge.ws_frame import text_frame
from pipeline.log import Log
from pipeline.sockets import Binder
from tests.harness import PATIENCE, private_dir
from tests.unit.edge.test_ws_reading import CLOSE, FIN, PING, PONG, TEXT, close, frame

LARGE = text_frame(b"x" * 1_000_000)


class Reader:
    """What a connection has for a reader: it gives nothing.

    Attributes:
        stopped: it may send nothing more.
        left: the code the connection ended with.
        over: set when it has.
        wrong: raised when it is asked for something.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.left: int | None = None
        self.over = asyncio.Event()
        self.wrong: Exception | None = None

    def told(self, now: float) -> list[Figures]:
        return []

    def overdue(self, now: float) -> CloseCode | None:
        if self.wrong is not None:
            raise self.wrong
        return None

    def hear(self, message: str | bytes) -> None:
        if self.wrong is not None:
            raise self.wrong

    def stop(self) -> None:
        self.stopped = True

    def leave(self, code: int) -> None:
        self.left = code
        self.over.set()


class Pair:
    """Attributes:
    connection: the edge's side, admitted and heard.
    reader: its reader.
    browser: the other side.
    """

    def __init__(self, service: Service) -> None:
        with tcp.create_server(("127.0.0.1", 0)) as listening:
            self.browser = tcp.create_connection(listening.getsockname())
            edge, _ = listening.accept()
        for each in (edge, self.browser):
            each.setblocking(False)
        self.transmitter = SocketTransmitter(edge, b"", 16_384)
        self.connection = WebSocketConnection(service, self.transmitter, Variant("heroforge"), "id", "/")
        assert service.admit(self.connection, "127.0.0.1") is None
        self.reader = Reader()
        self.connection.open(self.reader, self.reader.hear)
        self.connection.listen()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.browser, data)

    async def receive(self, size: int) -> bytes:
        """Return so many bytes, or what there is until the end."""
        data = bytearray()
        async with asyncio.timeout(10 * PATIENCE):
            while len(data) < size:
                more = await asyncio.get_running_loop().sock_recv(self.browser, size - len(data))
                if not more:
                    break
                data += more
        return bytes(data)


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with private_dir() as place:
        binder = Binder(context, place)
        service = Service(EdgeConfig(), binder, Log(logging.getLogger("test")), lambda _: None)
        try:
            yield service
        finally:
            for connection in service.members():
                connection.drop()
            service.upstream.close()
            binder.close()
            context.term()


def closed(code: int, reason: str) -> bytes:
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((FIN | CLOSE, len(payload))) + payload


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["hear", "beat", "on_idle"])
async def test_an_error_of_ours_closes_its_connection_with_1011_and_no_other(where: str) -> None:
    async with serving() as service:
        one, other = Pair(service), Pair(service)
        one.reader.wrong = ZeroDivisionError("ours")
        before = b""
        if where == "hear":
            await one.send(frame(FIN | TEXT, b"x") + frame(FIN | PING, b"not answered"))
        elif where == "beat":
            one.connection.beat(time.monotonic())
        else:
            one.transmitter.on_idle.append(lambda: one.reader.hear(""))
            one.transmitter.write(LARGE)
            before = LARGE
        expected = before + closed(1011, "internal error")
        assert await one.receive(len(expected)) == expected
        assert one.reader.stopped
        await one.send(close(1011))
        assert await one.receive(1) == b""
        assert one.reader.left == 1011
        await other.send(frame(FIN | PING, b"there?"))
        assert await other.receive(8) == bytes((FIN | PONG, 6)) + b"there?"
        assert service.members() == [other.connection]
        other.browser.close()
        one.browser.close()


@pytest.mark.asyncio
async def test_a_pong_is_a_sign_of_life_and_leaves_nothing_behind() -> None:
    async with serving() as service:
        pair = Pair(service)
        heard_at = pair.connection._heard_at
        await pair.send(frame(FIN | PONG))
        await pair.send(frame(FIN | PING))
        assert await pair.receive(2) == bytes((FIN | PONG, 0))
        assert pair.connection._heard_at > heard_at
        assert pair.connection._frames is None
        await pair.send(frame(FIN | TEXT, b"begun")[:4] + b"")
        await pair.send(b"")
        pair.connection.beat(time.monotonic())
        assert await pair.receive(2) == bytes((FIN | PING, 0))
        pair.browser.close()


@pytest.mark.asyncio
async def test_a_close_frame_goes_behind_what_waits_and_the_answer_to_it_ends_the_connection() -> None:
    async with serving() as service:
        pair = Pair(service)
        pair.transmitter.write(LARGE)
        pair.connection.end(DRAINING)
        pair.connection.end(DRAINING)
        pair.transmitter.put(b"")
        expected = LARGE + closed(DRAINING.code, DRAINING.reason)
        assert await pair.receive(len(expected)) == expected
        await pair.send(frame(FIN | PING, b"nothing follows a close frame") + close(DRAINING.code))
        assert await pair.receive(1) == b""
        assert pair.reader.left == DRAINING.code
        assert service.members() == []
        pair.browser.close()


@pytest.mark.asyncio
async def test_the_answer_to_a_close_frame_goes_behind_what_waits() -> None:
    async with serving() as service:
        pair = Pair(service)
        pair.transmitter.write(LARGE)
        await pair.send(close(1001, b"going"))
        expected = LARGE + closed(1001, "")
        assert await pair.receive(len(expected) + 1) == expected
        pair.browser.close()
        async with asyncio.timeout(10 * PATIENCE):
            await pair.reader.over.wait()
        assert pair.reader.left == 1001


@pytest.mark.asyncio
async def test_one_that_takes_nothing_more_is_let_go_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_connection, "CLOSE_S", 0.05)
    async with serving() as service:
        pair = Pair(service)
        pair.transmitter.write(LARGE * 10)
        pair.connection.end(DRAINING)
        async with asyncio.timeout(10 * PATIENCE):
            await pair.reader.over.wait()
        assert service.members() == []
        assert pair.reader.left == DRAINING.code
        assert not pair.transmitter.idle
        pair.connection.drop()
        pair.browser.close()
