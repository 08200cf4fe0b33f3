"""The two kinds of transmitter, and what they take for granted of the Tornado that is installed."""

from __future__ import annotations

import asyncio
import contextlib
import socket as tcp
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from pipeline.edge.transmit import Transmitter
from pipeline.edge.transmit_socket import SocketTransmitter
from pipeline.edge.transmit_stream import StreamTransmitter, taken_over
from pipeline.edge.ws_frame import text_frame
from pipeline.edge.ws_upgrade import answer
from tests.harness import PATIENCE
from tests.sockets.peers import RawBrowser

LARGE = text_frame(b"x" * 1_000_000)
KERNEL_BUFFER_BYTES = 16_384
Kind = Literal["socket", "stream"]
both = pytest.mark.parametrize("kind", ["socket", "stream"])


class Opened:
    """One request, whose answer is written by the test.

    Attributes:
        transmitter: of its connection.
        stream: Tornado's, where that goes on writing.
        browser: the other end, which reads only when it is told.
    """

    def __init__(self, kind: Kind, handler: RequestHandler) -> None:
        self.stream: IOStream | None = None
        answered = answer(handler.request.headers.get_list, None, None)
        if kind == "stream":
            self.stream = handler.detach()
            self.transmitter: Transmitter = StreamTransmitter(self.stream, KERNEL_BUFFER_BYTES)
        else:
            taken = taken_over(handler, KERNEL_BUFFER_BYTES)
            assert isinstance(taken, SocketTransmitter)
            self.transmitter = taken
        self.transmitter.put(answered)
        self.browser: RawBrowser

    @property
    def socket(self) -> tcp.socket:
        """The edge's socket."""
        if self.stream is not None:
            assert isinstance(self.stream.socket, tcp.socket)
            return self.stream.socket
        assert isinstance(self.transmitter, SocketTransmitter)
        assert self.transmitter._socket is not None
        return self.transmitter._socket


@asynccontextmanager
async def connected(kind: Kind, receive_buffer: int = 4_096) -> AsyncIterator[Opened]:
    opening: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()

    class Handler(RequestHandler):
        def get(self) -> None:
            opening.set_result(Opened(kind, self))

    listening = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Handler)]))
    server.add_sockets(listening)
    port = listening[0].getsockname()[1]
    browser = await asyncio.to_thread(RawBrowser, port, "/", {}, receive_buffer)
    opened = await opening
    opened.browser = browser
    try:
        yield opened
    finally:
        browser.socket.close()
        opened.transmitter.close()
        server.stop()
        await server.close_all_connections()


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(10 * PATIENCE):
        await event.wait()


def reading(opened: Opened, frames: int = 1) -> asyncio.Future[list[tuple[int, bytes] | None]]:
    """Have the browser read so many frames."""
    return asyncio.get_running_loop().run_in_executor(
        None, lambda: [opened.browser.frame() for _ in range(frames)]
    )


# --- Tornado ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_counters_of_a_stream_are_of_bytes_given_and_bytes_the_kernel_took() -> None:
    async with connected("stream") as opened:
        stream = opened.stream
        assert stream is not None
        given, taken = stream._total_write_index, stream._total_write_done_index
        assert given == taken
        future = stream.write(LARGE)
        assert stream._total_write_index == given + len(LARGE)
        assert taken < stream._total_write_done_index < stream._total_write_index, "some, at once"
        assert not future.done()
        read = reading(opened)
        await future
        assert stream._total_write_done_index == stream._total_write_index
        assert await read == [(0x1, b"x" * 1_000_000)]


@pytest.mark.asyncio
async def test_a_small_write_to_a_stream_is_through_at_once() -> None:
    async with connected("stream") as opened:
        assert opened.stream is not None
        assert opened.stream.write(text_frame(b"hello")).done()
        assert await reading(opened) == [(0x1, b"hello")]


@pytest.mark.asyncio
async def test_what_a_stream_could_not_write_is_kept_without_a_copy_and_told_when_it_is_gone() -> None:
    async with connected("stream") as opened:
        stream = opened.stream
        assert stream is not None
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
        assert stream._write_futures is waiting
        assert not waiting
        with pytest.raises(StreamClosedError):
            await nothing


@pytest.mark.asyncio
async def test_nothing_is_left_of_tornado_in_a_connection_that_was_taken_over() -> None:
    async with connected("socket") as opened:
        loop = asyncio.get_running_loop()
        held = {key.fd: key.data for key in loop._selector.get_map().values()}  # type: ignore[attr-defined]
        assert opened.socket.fileno() not in held, "nobody reads yet"
        opened.transmitter.listen(lambda _: None, lambda: None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not [
            task
            for task in asyncio.all_tasks()
            if "_server_request_loop" in repr(task) or "_execute" in repr(task)
        ]


# --- writing ------------------------------------------------------------------------------------------


@both
@pytest.mark.asyncio
async def test_a_transmitter_is_idle_until_something_waits_and_again_when_it_is_gone(kind: Kind) -> None:
    async with connected(kind) as opened:
        transmitter = opened.transmitter
        idle = asyncio.Event()
        waits: list[bool] = []
        transmitter.on_idle.append(idle.set)
        transmitter.on_wait.append(lambda: waits.append(transmitter.idle))
        assert transmitter.idle
        transmitter.write(b"")
        assert waits == []
        before = transmitter.messages
        transmitter.write(LARGE, 3)
        assert not transmitter.idle
        assert waits == [False]
        assert (transmitter.messages, transmitter.bytes_sent) == (before + 3, len(LARGE))
        transmitter.put(text_frame(b"behind"))
        assert transmitter.bytes_sent == len(LARGE), "that is no message"
        assert waits == [False]
        assert not idle.is_set()
        read = reading(opened, 2)
        await until(idle)
        assert transmitter.idle
        assert await read == [(0x1, b"x" * 1_000_000), (0x1, b"behind")]
        transmitter.write(LARGE)
        assert waits == [False, False]


@both
@pytest.mark.asyncio
async def test_an_offer_is_one_send_and_the_rest_follows_it(kind: Kind) -> None:
    async with connected(kind) as opened:
        transmitter = opened.transmitter
        small = text_frame(b"hello")
        assert transmitter.offer(small) == len(small)
        taken = transmitter.offer(LARGE)
        assert 0 < taken < len(LARGE), "what the kernel's buffer takes"
        if opened.stream is not None:
            assert opened.stream._total_write_index == 0, "past the stream"
        transmitter.write_rest(LARGE, taken, 1)
        if kind == "stream":
            assert transmitter.offer(small) == 0, "it would overtake"
        idle = asyncio.Event()
        transmitter.on_idle.append(idle.set)
        read = reading(opened, 3)
        await until(idle)
        transmitter.write(small)
        assert await read == [(0x1, b"hello"), (0x1, b"x" * 1_000_000), (0x1, b"hello")]


@pytest.mark.asyncio
async def test_an_offer_for_which_there_is_no_room_at_all_takes_nothing_and_then_all_of_it_waits() -> None:
    async with connected("socket") as opened:
        transmitter = opened.transmitter
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(LARGE):
                sent += transmitter.offer(b"\x81\x00")
        assert sent < len(LARGE)
        idle = asyncio.Event()
        transmitter.on_idle.append(idle.set)
        transmitter.write_rest(text_frame(b"all"), 0, 1)
        read = reading(opened, sent // 2 + 1)
        await until(idle)
        assert (await read)[-1] == (0x1, b"all")


@pytest.mark.asyncio
async def test_what_tornado_itself_has_written_is_waited_for_too() -> None:
    async with connected("stream") as opened:
        idle = asyncio.Event()
        opened.transmitter.on_idle.append(idle.set)
        assert opened.stream is not None
        opened.stream.write(LARGE)
        opened.transmitter.wait()
        opened.transmitter.wait()
        read = reading(opened)
        await until(idle)
        await read


@both
@pytest.mark.asyncio
async def test_a_stall_is_measured_from_when_the_kernel_last_took_something(kind: Kind) -> None:
    async with connected(kind) as opened:
        transmitter = opened.transmitter
        room = asyncio.Event()
        transmitter.on_idle.append(room.set)
        assert transmitter.stalled_s(100.0) == 0.0
        transmitter.write(LARGE)
        assert transmitter.stalled_s(105.0) == 0.0, "it began to wait since"
        assert transmitter.stalled_s(107.5) == 2.5
        assert transmitter.stalled_s(125.0) == 20.0
        read = reading(opened)
        await until(room)
        await read
        assert transmitter.stalled_s(126.0) == 0.0
        assert transmitter.stalled_s(999.0) == 0.0, "nothing waits"
        transmitter.write(LARGE)
        assert transmitter.stalled_s(1_000.0) == 0.0
        assert transmitter.stalled_s(1_001.0) == 1.0


@both
@pytest.mark.asyncio
async def test_those_who_share_a_connection_have_turns_and_an_error_of_one_is_told(kind: Kind) -> None:
    async with connected(kind) as opened:
        transmitter = opened.transmitter
        calls: list[str] = []
        errors: list[BaseException] = []
        done = asyncio.Event()

        def fails() -> None:
            calls.append("a")
            raise ZeroDivisionError

        transmitter.on_idle += [fails, lambda: calls.append("b"), done.set]
        transmitter.on_error = errors.append
        for _ in range(2):
            done.clear()
            transmitter.write(LARGE)
            read = reading(opened)
            await until(done)
            await read
        assert calls == ["a", "b", "b", "a"]
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2


@both
@pytest.mark.asyncio
async def test_a_frame_goes_out_without_waiting_for_the_last_ones_ack(kind: Kind) -> None:
    async with connected(kind) as opened:
        assert opened.socket.getsockopt(tcp.IPPROTO_TCP, tcp.TCP_NODELAY)
        assert opened.socket.getsockopt(tcp.SOL_SOCKET, tcp.SO_SNDBUF) == 2 * KERNEL_BUFFER_BYTES


# --- reading ------------------------------------------------------------------------------------------


@both
@pytest.mark.asyncio
async def test_what_comes_is_heard_and_then_that_it_has_left(kind: Kind) -> None:
    async with connected(kind) as opened:
        heard = bytearray()
        left: list[bool] = []
        over = asyncio.Event()

        def gone() -> None:
            left.append(True)
            over.set()

        opened.transmitter.listen(heard.extend, gone)
        opened.browser.socket.sendall(b"x" * 200_000)
        opened.browser.socket.shutdown(tcp.SHUT_WR)
        await until(over)
        assert heard == b"x" * 200_000
        opened.transmitter.close()
        assert left == [True]
        assert not opened.transmitter.idle


@both
@pytest.mark.asyncio
async def test_a_browser_that_is_reset_while_something_waits_has_left_once(kind: Kind) -> None:
    async with connected(kind) as opened:
        left: list[bool] = []
        over = asyncio.Event()

        def gone() -> None:
            left.append(True)
            over.set()

        opened.transmitter.listen(lambda _: None, gone)
        opened.transmitter.write(LARGE)
        opened.browser.socket.setsockopt(tcp.SOL_SOCKET, tcp.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        opened.browser.socket.close()
        await until(over)
        await asyncio.sleep(0)
        assert left == [True]
        messages = opened.transmitter.messages
        opened.transmitter.write(text_frame(b"late"))
        assert opened.transmitter.messages == messages


@both
@pytest.mark.asyncio
async def test_what_came_with_the_request_is_heard_first(kind: Kind) -> None:
    opening: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()

    class Handler(RequestHandler):
        def get(self) -> None:
            opening.set_result(Opened(kind, self))

    listening = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Handler)]))
    server.add_sockets(listening)
    port = listening[0].getsockname()[1]
    early = b"early" * 20_000
    with tcp.create_connection(("127.0.0.1", port)) as browser:
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nSec-WebSocket-Key: x\r\n\r\n"
        await asyncio.to_thread(browser.sendall, request.encode() + early)
        opened = await opening
        heard = bytearray()
        over = asyncio.Event()
        opened.transmitter.listen(heard.extend, over.set)
        await asyncio.to_thread(browser.sendall, b"later")
        browser.shutdown(tcp.SHUT_WR)
        await until(over)
        assert heard == early + b"later"
    server.stop()
    await server.close_all_connections()


# --- ending -------------------------------------------------------------------------------------------


@both
@pytest.mark.asyncio
async def test_writing_to_a_connection_that_is_closed_is_nothing(kind: Kind) -> None:
    async with connected(kind) as opened:
        transmitter = opened.transmitter
        transmitter.write(LARGE)
        transmitter.close()
        assert not transmitter.idle
        transmitter.write(text_frame(b"late"))
        transmitter.write_rest(text_frame(b"late"), 0, 1)
        assert transmitter.messages == 1
        transmitter.shut()
        transmitter.close()


@both
@pytest.mark.asyncio
async def test_what_waits_is_written_before_the_connection_is_shut_and_it_is_heard_on(kind: Kind) -> None:
    async with connected(kind) as opened:
        heard = bytearray()
        over = asyncio.Event()
        opened.transmitter.listen(heard.extend, over.set)
        opened.transmitter.write(LARGE)
        opened.transmitter.shut()
        assert await reading(opened, 2) == [(0x1, b"x" * 1_000_000), None]
        opened.browser.socket.sendall(b"still here")
        opened.browser.socket.close()
        await until(over)
        assert heard == b"still here"
