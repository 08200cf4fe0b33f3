"""What a browser sends, as RFC 6455 wants it: bytes in, messages and control frames out. Pure.

Sits between the bytes of a connection and `ws_connection`. Bytes may come cut anywhere; a frame
is judged as soon as its header is there. It knows neither what messages mean nor how a connection is closed.

========================================================= =========== ================================
a frame                                                   fails with  RFC 6455
========================================================= =========== ================================
is not masked                                             1002        5.1
has a reserved bit that nothing was agreed for            1002        5.2
has a reserved opcode                                     1002        5.2
has a length in more bytes than needed, or above 2^63     1002        5.2
is a control frame, and fragmented or above 125 bytes     1002        5.5
continues nothing, or begins within a message             1002        5.4
makes a message larger than the bound, inflated too       1009        7.4.1
ends or goes on with text that is no UTF-8                1007        8.1
is a close frame with one byte, or a code nobody may send 1002        5.5.1, 7.4
is a close frame whose reason is no UTF-8                 1007        5.5.1
cannot be inflated                                        1007        RFC 7692, 7.2.2
========================================================= =========== ================================

After a failure, and after a close frame, whatever comes is dropped.
"""

from __future__ import annotations

import codecs
import zlib
from dataclasses import dataclass

from pipeline.edge.close_codes import NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, CloseCode

_FIN, _RSV1, _RSV, _MASKED = 0x80, 0x40, 0x70, 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))
_MAX_CONTROL_BYTES = 125
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message: text that is UTF-8, or bytes."""

    data: bytes
    is_text: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with a pong of the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer to a ping, or a sign of life."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The browser closes; `code` is None when it gave none."""

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The connection is to be failed with this code; `problem` is for the log."""

    code: CloseCode
    problem: str


Inbound = Message | Ping | Pong | Closed | Failed


def may_be_sent(code: int) -> bool:
    """Say whether a close frame may carry this code (RFC 6455, 7.4, and IANA's registry up to 1014)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


class WebSocketReader:
    """Args:
    max_message_bytes: the largest message taken; of a compressed one, inflated.
    deflate: whether permessage-deflate was agreed, each message with a fresh context.

    Attributes:
        frames: how many frames have been read, fragments and control frames too.
        over: nothing more is read: it failed, or the browser closed.
    """

    __slots__ = (
        "_deflate", "_inflate", "_is_text", "_max_bytes", "_rest", "_text", "_whole", "frames", "over",
    )  # fmt: skip

    def __init__(self, max_message_bytes: int, *, deflate: bool = False) -> None:
        self._max_bytes = max_message_bytes
        self._deflate = deflate
        self._rest = b""
        self._whole: bytearray | None = None
        self._is_text = False
        self._inflate = False
        self._text: codecs.IncrementalDecoder | None = None
        self.frames = 0
        self.over = False

    @property
    def within(self) -> bool:
        """Whether a frame or a message has begun that is not whole; else another reader may go on."""
        return bool(self._rest) or self._whole is not None

    def receive(self, data: bytes) -> list[Inbound]:
        """Take in what has come.

        Args:
            data: the next bytes of the connection, cut anywhere.

        Returns:
            What became whole, in order. `Failed` and `Closed` are the last there is.
        """
        if self.over:
            return []
        data = self._rest + data if self._rest else data
        found: list[Inbound] = []
        at = 0
        while not self.over:
            frame = self._frame(data, at)
            if frame is None:
                break
            if isinstance(frame, Failed):
                found.append(frame)
                self.over = True
                break
            first, payload, at = frame
            self.frames += 1
            result = self._take(first, payload)
            if result is not None:
                found.append(result)
                self.over = isinstance(result, Failed | Closed)
        self._rest = b"" if self.over else data[at:]
        return found

    def _frame(self, data: bytes, at: int) -> tuple[int, bytes, int] | Failed | None:
        """Return (first byte, payload, where the next frame begins); None when more is needed."""
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        problem = self._problem(first, second)
        if problem is not None:
            return _broken(problem)
        start = at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(data) - start < size:
                return None
            length = int.from_bytes(data[start : start + size], "big")
            start += size
            if length < (126 if size == 2 else 65_536) or length >> 63:
                return _broken(f"a length of {length} in {size} bytes")
        held = len(self._whole) if self._whole is not None else 0
        if not first & 0x8 and held + length > self._max_bytes:
            return Failed(TOO_LARGE, f"a message of {held + length} bytes; the limit is {self._max_bytes}")
        end = start + 4 + length
        if len(data) < end:
            return None
        return first, _unmasked(data[start : start + 4], data[start + 4 : end]), end

    def _problem(self, first: int, second: int) -> str | None:
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            return f"opcode {opcode:#x} is reserved"
        agreed = _RSV1 if self._deflate and opcode in (_TEXT, _BINARY) else 0
        if first & _RSV & ~agreed:
            return f"reserved bits {(first & _RSV) >> 4:03b}"
        if opcode & 0x8:
            if not first & _FIN:
                return "a fragmented control frame"
            if second & 0x7F > _MAX_CONTROL_BYTES:
                return f"a control frame of more than {_MAX_CONTROL_BYTES} bytes"
        elif opcode == _CONTINUATION and self._whole is None:
            return "a continuation of nothing"
        elif opcode != _CONTINUATION and self._whole is not None:
            return "a new message within another"
        if not second & _MASKED:
            return "a frame that is not masked"
        return None

    def _take(self, first: int, payload: bytes) -> Inbound | None:
        opcode = first & 0x0F
        if opcode == _PING:
            return Ping(payload)
        if opcode == _PONG:
            return Pong()
        if opcode == _CLOSE:
            return _closed(payload)
        whole = self._whole
        if whole is None:
            self._is_text = opcode == _TEXT
            self._inflate = bool(first & _RSV1)
            if first & _FIN:
                return self._message(payload)
            self._whole = whole = bytearray()
            self._text = _utf8() if self._is_text and not self._inflate else None
        if self._text is not None:  # so that text is refused where it goes wrong, not at its end
            try:
                self._text.decode(payload)
            except UnicodeDecodeError:
                return _no_utf8()
        whole += payload
        if not first & _FIN:
            return None
        self._whole = self._text = None
        return self._message(bytes(whole))

    def _message(self, data: bytes) -> Message | Failed:
        if self._inflate:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(data + _DEFLATE_TAIL, self._max_bytes + 1)
            except zlib.error:
                return Failed(NOT_UTF8, "a message that cannot be inflated")
            if len(data) > self._max_bytes:
                return Failed(TOO_LARGE, f"a message that inflates beyond {self._max_bytes} bytes")
        if self._is_text and not _is_utf8(data):
            return _no_utf8()
        return Message(data, self._is_text)


_utf8 = codecs.getincrementaldecoder("utf-8")


def _broken(problem: str) -> Failed:
    return Failed(PROTOCOL_ERROR, problem)


def _no_utf8() -> Failed:
    return Failed(NOT_UTF8, "text that is not UTF-8")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unmasked(mask: bytes, data: bytes) -> bytes:
    if not data or mask == b"\0\0\0\0":
        return data
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _closed(payload: bytes) -> Closed | Failed:
    if not payload:
        return Closed(None, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not may_be_sent(code):
        return _broken("a close frame of one byte" if len(payload) == 1 else f"close code {code}")
    if not _is_utf8(payload[2:]):
        return Failed(NOT_UTF8, "a close reason that is not UTF-8")
    return Closed(code, payload[2:].decode())
