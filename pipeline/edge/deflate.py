"""Compressed WebSocket messages (permessage-deflate, RFC 7692): what is agreed, and the compressing. Pure.

One compressing serves every reader that agreed to the same. A message is compressed on its own, with an
empty window. Only those in step (`cohort`), who are given the same messages, share a window that is kept from
frame to frame, which takes two fifths of the bytes. Whoever is given another compressed message leaves them
first, and whenever somebody joins them the window begins anew: what follows refers to nothing before.

========================== ============================== ==============================================
an offer's parameter       taken when                     answered
========================== ============================== ==============================================
server_no_context_takeover it has no value                if it is offered, or no window is to be kept
client_no_context_takeover it has no value                always, so that nobody keeps a window of ours
server_max_window_bits     it is 9 to 15; zlib cannot     as offered
                           keep to 8
client_max_window_bits     it is 8 to 15, or has no value never: whatever is sent is read
another, or one twice      never                          the next offer is looked at
========================== ============================== ==============================================
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from weakref import WeakSet

EXTENSION = "permessage-deflate"
_MAX_WINDOW_BITS = 15
_MIN_WINDOW_BITS = 9
_TAIL = b"\x00\x00\xff\xff"
"""What a flush ends with, and a message leaves out (RFC 7692, 7.2.1)."""


@dataclass(frozen=True, slots=True)
class Deflate:
    """How messages of one kind of reader are compressed.

    Attributes:
        window_bits: 9 to 15; how far back, as a power of two of bytes, the reader can look.
        level: 1 to 9, zlib's.
        min_bytes: a message smaller than this goes as it is.
        contexts: where those in step get a window to keep; None when the reader keeps none.
    """

    window_bits: int
    level: int
    min_bytes: int
    contexts: Contexts | None = None

    def compress(self, payload: bytes) -> bytes | None:
        """Return the payload of a compressed message; None when it goes as it is: it is small, or grew."""
        if len(payload) < self.min_bytes:
            return None
        packed = _packed(self.compressor(), payload)
        return packed if len(packed) < len(payload) else None

    def compressor(self) -> zlib._Compress:
        """Return one with an empty window."""
        return zlib.compressobj(self.level, zlib.DEFLATED, -self.window_bits)


class Context:
    """A window that is kept from message to message: each refers to those before.

    Args:
        deflate: how it compresses.
    """

    __slots__ = ("__weakref__", "_compressor", "_deflate")

    def __init__(self, deflate: Deflate) -> None:
        self._deflate = deflate
        self._compressor: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes | None:
        """Return the next compressed message; None when it goes as it is: it is small, or grew.

        Who is given one of these must have been given all since `forget`.
        """
        if len(payload) < self._deflate.min_bytes:
            return None
        if self._compressor is None:
            self._compressor = self._deflate.compressor()
        # Out of use until it is known to have said what is given: else it has seen what nobody has.
        compressor, self._compressor = self._compressor, None
        packed = _packed(compressor, payload)
        if len(packed) >= len(payload):
            return None
        self._compressor = compressor
        return packed

    def forget(self) -> None:
        """Begin anew: what follows refers to nothing before."""
        self._compressor = None


class Contexts:
    """The windows that an edge keeps, 260 KiB each.

    Args:
        most: so many; who comes beyond gets none, until one is let go.
    """

    __slots__ = ("_kept", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: WeakSet[Context] = WeakSet()

    def open(self, deflate: Deflate) -> Context | None:
        """Return a window to keep, for as long as it is held; None when there are too many."""
        if len(self._kept) >= self.most:
            return None
        context = Context(deflate)
        self._kept.add(context)
        return context


def _packed(compressor: zlib._Compress, payload: bytes) -> bytes:
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a reader and the edge agree on.

    Attributes:
        window_bits: for what the edge sends.
        keeps: whether the reader keeps its window from message to message.
        answer: the value of the answer's `Sec-WebSocket-Extensions`.
    """

    window_bits: int
    answer: str
    keeps: bool = False


def agree(offers: str, *, keep: bool = False) -> Agreement | None:
    """Return what is agreed on, by the first offer that can be met; None when nothing is compressed.

    Args:
        offers: the request's `Sec-WebSocket-Extensions`; empty when it has none.
        keep: have the reader keep its window, if it does not offer otherwise.
    """
    for offer in offers.split(","):
        name, *parameters = [part.strip() for part in offer.split(";")]
        if name != EXTENSION:
            continue
        given = {key.strip(): value.strip() for key, _, value in (each.partition("=") for each in parameters)}
        if len(given) == len(parameters) and all(_can_be_met(key, value) for key, value in given.items()):
            window = given.get("server_max_window_bits")
            keeps = keep and "server_no_context_takeover" not in given
            each_alone = "" if keeps else "; server_no_context_takeover"
            answer = f"{EXTENSION}{each_alone}; client_no_context_takeover"
            if window is None:
                return Agreement(_MAX_WINDOW_BITS, answer, keeps)
            bits = int(window.strip('"'))
            return Agreement(bits, f"{answer}; server_max_window_bits={bits}", keeps)
    return None


def _can_be_met(name: str, value: str) -> bool:
    bits = value[1:-1] if len(value) > 2 and value[0] == value[-1] == '"' else value
    match name:
        case "server_no_context_takeover" | "client_no_context_takeover":
            return not value
        case "server_max_window_bits":
            return bits in _bits(_MIN_WINDOW_BITS)
        case "client_max_window_bits":
            return not value or bits in _bits(8)
        case _:
            return False


def _bits(least: int) -> tuple[str, ...]:
    return tuple(map(str, range(least, _MAX_WINDOW_BITS + 1)))
