"""What `transmit` takes for granted of Tornado, against the version that is installed."""

from __future__ import annotations

import asyncio
import socket as tcp
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from pipeline.edge.transmit import Transmitter, websocket_stream
from pipeline.edge.ws_frame import text_frame
from tests.harness import PATIENCE
from tests.sockets.peers import RawBrowser

LARGE = text_frame(b"x" * 1_000_000)


@asynccontextmanager
async def connected(receive_buffer: int = 4_096) -> AsyncIterator[tuple[WebSocketHandler, RawBrowser]]:
    """Give (the open handler, its browser, which reads only when it is told)."""
    opened: asyncio.Future[WebSocketHandler] = asyncio.get_running_loop().create_future()

    class Handler(WebSocketHandler):
        def open(self) -> None:
            opened.set_result(self)

    listening = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Handler)]))
    server.add_sockets(listening)
    port = listening[0].getsockname()[1]
    browser = await asyncio.to_thread(RawBrowser, port, "/", {}, receive_buffer)
    try:
        yield await opened, browser
    finally:
        browser.socket.close()
        server.stop()
        await server.close_all_connections()


def stream_of(handler: WebSocketHandler) -> IOStream:
    assert handler.ws_connection is not None
    stream = handler.ws_connection.stream
    assert isinstance(stream, IOStream)
    return stream


@pytest.mark.asyncio
async def test_the_counters_are_of_bytes_given_and_bytes_the_kernel_took() -> None:
    async with connected() as (handler, browser):
        stream = stream_of(handler)
        given, taken = stream._total_write_index, stream._total_write_done_index
        assert given == taken > 0, "the answer to the upgrade is counted, and written"
        stream.socket.setsockopt(tcp.SOL_SOCKET, tcp.SO_SNDBUF, 16_384)
        future = stream.write(LARGE)
        assert stream._total_write_index == given + len(LARGE)
        assert taken < stream._total_write_done_index < stream._total_write_index, "some, at once"
        assert not future.done()
        reading = asyncio.get_running_loop().run_in_executor(None, browser.frame)
        await future
        assert stream._total_write_done_index == stream._total_write_index
        assert await reading == (0x1, b"x" * 1_000_000)


@pytest.mark.asyncio
async def test_a_small_write_is_through_at_once() -> None:
    async with connected() as (handler, browser):
        assert stream_of(handler).write(text_frame(b"hello")).done()
        assert await asyncio.to_thread(browser.frame) == (0x1, b"hello")


@pytest.mark.asyncio
async def test_what_the_kernel_does_not_take_is_kept_without_a_copy_and_told_when_it_is_gone() -> None:
    async with connected() as (handler, _):
        stream = stream_of(handler)
        stream.socket.setsockopt(tcp.SOL_SOCKET, tcp.SO_SNDBUF, 16_384)
        waiting = stream._write_futures
        assert not stream._write_buffer
        assert not waiting
        stream.write(memoryview(LARGE)[10:])
        assert stream._write_buffer
        assert waiting
        ((kept, view),) = stream._write_buffer._buffers
        assert kept
        assert isinstance(view, memoryview)
        assert view.obj is LARGE
        nothing = stream.write(b"")
        assert not nothing.done()
        stream.close()
        assert stream._write_buffer is None
        assert not waiting
        assert stream._write_futures is waiting
        with pytest.raises(StreamClosedError):
            await nothing


@pytest.mark.asyncio
async def test_a_transmitter_is_idle_until_something_waits_and_again_when_it_is_gone() -> None:
    async with connected() as (handler, browser):
        idle = asyncio.Event()
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        transmitter.on_idle.append(idle.set)
        assert transmitter.idle
        transmitter.write(LARGE, 3)
        assert not transmitter.idle
        assert (transmitter.messages, transmitter.bytes_sent) == (3, len(LARGE))
        assert not idle.is_set()
        reading = asyncio.get_running_loop().run_in_executor(None, browser.frame)
        async with asyncio.timeout(10 * PATIENCE):
            await idle.wait()
        assert transmitter.idle
        assert await reading == (0x1, b"x" * 1_000_000)


@pytest.mark.asyncio
async def test_an_offer_is_one_send_past_the_stream_and_nothing_while_something_waits() -> None:
    async with connected() as (handler, browser):
        stream = stream_of(handler)
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        given = stream._total_write_index
        small = text_frame(b"hello")
        assert transmitter.offer(small) == len(small)
        taken = transmitter.offer(LARGE)
        assert 0 < taken < len(LARGE), "what the kernel's buffer takes"
        assert stream._total_write_index == given
        transmitter.write_rest(LARGE, taken, 1)
        assert transmitter.offer(small) == 0, "it would overtake"
        idle = asyncio.Event()
        transmitter.on_idle.append(idle.set)
        reading = asyncio.get_running_loop().run_in_executor(
            None, lambda: [browser.frame() for _ in range(3)]
        )
        async with asyncio.timeout(10 * PATIENCE):
            await idle.wait()
        transmitter.write(small)
        assert await reading == [(0x1, b"hello"), (0x1, b"x" * 1_000_000), (0x1, b"hello")]


@pytest.mark.asyncio
async def test_what_tornado_itself_has_written_is_waited_for_too() -> None:
    async with connected() as (handler, browser):
        idle = asyncio.Event()
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        transmitter.on_idle.append(idle.set)
        stream_of(handler).write(LARGE)
        transmitter.wait()
        transmitter.wait()
        reading = asyncio.get_running_loop().run_in_executor(None, browser.frame)
        async with asyncio.timeout(10 * PATIENCE):
            await idle.wait()
        await reading


@pytest.mark.asyncio
async def test_a_stall_is_measured_from_when_the_kernel_last_took_something() -> None:
    async with connected() as (handler, browser):
        room = asyncio.Event()
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        transmitter.on_idle.append(room.set)
        assert transmitter.stalled_s(100.0) == 0.0
        transmitter.write(LARGE)
        assert transmitter.stalled_s(105.0) == 0.0, "some of it was taken since"
        assert transmitter.stalled_s(107.5) == 2.5
        assert transmitter.stalled_s(125.0) == 20.0
        reading = asyncio.get_running_loop().run_in_executor(None, browser.frame)
        async with asyncio.timeout(10 * PATIENCE):
            await room.wait()
        await reading
        assert transmitter.stalled_s(126.0) == 0.0
        assert transmitter.stalled_s(999.0) == 0.0, "nothing waits"


@pytest.mark.asyncio
async def test_writing_to_a_connection_that_is_gone_is_nothing() -> None:
    async with connected() as (handler, browser):
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        transmitter.write(LARGE)
        browser.socket.close()
        stream_of(handler).close()
        assert not transmitter.idle
        transmitter.write(text_frame(b"late"))
        assert transmitter.messages == 1
        assert transmitter.offer(text_frame(b"late")) == 0


@pytest.mark.asyncio
async def test_a_frame_goes_out_without_waiting_for_the_last_ones_ack() -> None:
    async with connected() as (handler, _):
        Transmitter(websocket_stream(handler), 16_384)
        assert stream_of(handler).socket.getsockopt(tcp.IPPROTO_TCP, tcp.TCP_NODELAY)


@pytest.mark.asyncio
async def test_those_who_share_a_connection_have_turns() -> None:
    async with connected() as (handler, browser):
        transmitter = Transmitter(websocket_stream(handler), 16_384)
        given: list[str] = []
        enough = asyncio.Event()

        def greedy(name: str) -> None:
            """Fill the connection whenever it is idle."""
            if not transmitter.idle:
                transmitter.wait()
                return
            given.append(name)
            if len(given) == 7:
                enough.set()
            else:
                transmitter.write(LARGE)

        for name in "abc":
            transmitter.on_idle.append(lambda name=name: greedy(name))
        transmitter.write(LARGE)
        reading = asyncio.get_running_loop().run_in_executor(
            None, lambda: [browser.frame() for _ in range(7)]
        )
        async with asyncio.timeout(20 * PATIENCE):
            await enough.wait()
        await reading
        assert given[:7] == list("abcabca")
