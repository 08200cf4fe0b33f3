"""The WebSocket protocol of one connection: Tornado's writing, our own reading. Shell.

Tornado's own reading takes frames that are not masked and close codes nobody may send, and drops the
connection without a close frame where RFC 6455 wants a code. So what comes is read by `ws_reading`, and this
file does what that says. Of Tornado's insides it touches, pinned by tests/sockets/test_edge_rfc6455.py:

- `WebSocketHandler.get_websocket_protocol`, `WebSocketProtocol13.params`
- `_receive_frame_loop`, which `accept_connection` awaits once the handler is open
- `_run_callback`, `_send_pong`, `_abort`, `client_terminated`, `server_terminated`, `close_code`
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketProtocol13

from pipeline.edge.close_codes import NOT_TEXT, TOO_MANY_MESSAGES, CloseCode
from pipeline.edge.visitors import Rate
from pipeline.edge.ws_reading import Closed, Failed, Inbound, Message, Ping, Pong, WebSocketReader

if TYPE_CHECKING:
    from pipeline.edge.handlers.guard import GuardedSocket

_CHUNK_BYTES = 65_536


class StrictProtocol(WebSocketProtocol13):
    """Args:
    handler: the connection's handler.
    like: the protocol object Tornado made, for what was agreed.
    rate: frames it may send.
    """

    handler: GuardedSocket

    def __init__(self, handler: GuardedSocket, like: WebSocketProtocol13, rate: Rate) -> None:
        super().__init__(handler, False, like.params)
        self._rate = rate
        self._may_send_at = float("-inf")
        self._failed = False

    async def _receive_frame_loop(self) -> None:
        reader = WebSocketReader(self.params.max_message_size, deflate=self._decompressor is not None)
        try:
            while not self.client_terminated:
                data = await self.stream.read_bytes(_CHUNK_BYTES, partial=True)
                before = reader.frames
                found = reader.receive(data)
                if not self._failed and not self._in_time(reader.frames - before):
                    self._fail(TOO_MANY_MESSAGES, "too many frames")
                for each in found:
                    await self._do(each)
                if len(data) == _CHUNK_BYTES:
                    await asyncio.sleep(0)  # there is more, and others wait
        except StreamClosedError:
            self._abort()
        finally:
            self.handler.on_ws_connection_close(self.close_code, self.close_reason)

    def _in_time(self, frames: int) -> bool:
        self._may_send_at, wait_s = self._rate.take(self._may_send_at, time.monotonic(), frames)
        return wait_s <= 0

    async def _do(self, found: Inbound) -> None:
        if self._failed:
            return
        if isinstance(found, Failed):
            self._fail(found.code, found.problem)
        elif isinstance(found, Closed):
            self.client_terminated = True
            self.close_code, self.close_reason = found.code, found.reason
            self.close(found.code)
        elif isinstance(found, Ping):
            self._send_pong(found.payload)
            self._run_callback(self.handler.on_ping, found.payload)
        elif isinstance(found, Pong):
            self._run_callback(self.handler.on_pong, b"")
        elif not self.server_terminated:
            await self._hand_over(found)

    async def _hand_over(self, message: Message) -> None:
        if not message.is_text and self.handler.text_only:
            self._fail(NOT_TEXT, "a binary message")
            return
        handled = self._run_callback(
            self.handler.on_message, message.data.decode() if message.is_text else message.data
        )
        if handled is not None:
            await handled

    def _fail(self, code: CloseCode, problem: str) -> None:
        """Close with a code, and read on without listening until the browser has gone (RFC 6455, 7.1.7).

        If the connection were closed at once, what the browser has still sent would make the kernel reset it,
        and the close frame could be lost.
        """
        self._failed = True
        if self.close_code is None:
            self.close_code = code.code
        self.handler.fail(code, problem)
        if self.stream.writing() or self.stream.socket is None:
            return  # Tornado gives up after 5 s
        with contextlib.suppress(OSError):
            self.stream.socket.shutdown(socket.SHUT_WR)
