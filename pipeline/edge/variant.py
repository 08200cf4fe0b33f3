"""How a delivery becomes bytes for one kind of reader. Pure.

Readers of one variant get the same bytes, composed once and shared (`delivery`); those in step share one
loop besides (`cohort`). Whatever makes bytes differ between readers belongs into a variant, and nothing else.

=========== ======================================================================================
wire        a message is
=========== ======================================================================================
native      one WebSocket text frame
heroforge   one WebSocket text frame an event
sse         one server-sent event; a part of a chunked answer, if it is to be
=========== ======================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipeline.edge.deflate import Deflate
from pipeline.edge.filter import Filter
from pipeline.edge.sse_event import chunk, sse_event
from pipeline.edge.ws_frame import text_frame
from pipeline.frame import Position

Wire: TypeAlias = Literal["native", "heroforge", "sse"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of reader.

    Attributes:
        wire: what it speaks.
        chunked: `sse` only: HTTP/1.1 frames its parts.
        deflate: the WebSockets only: how messages are compressed; None when that was not agreed on.
        wanted: which events; None for all.
    """

    wire: Wire
    chunked: bool = False
    deflate: Deflate | None = None
    wanted: Filter | None = None

    def message(self, payload: bytes, position: Position | None = None) -> bytes:
        """Frame one message.

        Args:
            payload: its JSON.
            position: where a reader that has it goes on from; told on `sse`.
        """
        if self.wire != "sse":
            packed = self.deflate.compress(payload) if self.deflate is not None else None
            return text_frame(payload) if packed is None else text_frame(packed, compressed=True)
        event = sse_event(payload, position)
        return chunk(event) if self.chunked else event

    def messages(self, payloads: list[bytes]) -> bytes:
        """Frame several messages to be sent in one go."""
        return b"".join(map(self.message, payloads))


NATIVE = Variant("native")
HEROFORGE = Variant("heroforge")
