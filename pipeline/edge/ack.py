"""What a browser says it has done with: `{"action":"ack","seq":n}`. Pure."""

from __future__ import annotations

import msgspec


class Ack(msgspec.Struct, frozen=True, tag_field="action", tag="ack"):
    """It has done with all events up to `seq` of the present life."""

    seq: int


_decode = msgspec.json.Decoder(Ack).decode


def read_ack(message: str | bytes) -> int | None:
    """Return the `seq` of an ack; None when the message is something else."""
    try:
        return _decode(message).seq
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
