"""How a tool that `emit` runs begins and ends, as events. Pure.

Sits between the tool's adapter and the sender. A scan that is run starts when its tool does, and ends with
its exit status: what the adapter makes of the output's own beginning and end is held back for these.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.event import ScanStarted, ends_channel, read_event
from pipeline.event_json import encode_event
from pipeline.producer.adapters import Problem

_MAX_MESSAGE = 4_096


class Outcome:
    """Args:
    tool: its name.
    part: whether somebody else starts and ends the scan: no start, no completion, and an error is not fatal.
    """

    def __init__(self, tool: str, *, part: bool) -> None:
        self._tool = tool
        self._part = part
        self._held: dict[str, object] = {}

    def pass_on(self, items: Iterable[bytes | Problem]) -> list[bytes | Problem]:
        """Return what goes on now: all but the output's own start and end."""
        passed: list[bytes | Problem] = []
        for item in items:
            if isinstance(item, bytes):
                if b"scanStarted" in item and isinstance(read_event(item), ScanStarted):
                    continue
                if ends_channel(item):
                    self._held = msgspec.json.decode(item, type=dict[str, object])
                    continue
            passed.append(item)
        return passed

    def start(self, fields: dict[str, object], ts: float) -> bytes | None:
        """Return the start of the scan; None for a part.

        Args:
            fields: what is known of it.
            ts: now, epoch seconds.
        """
        if self._part:
            return None
        return encode_event({"type": "scanStarted", "scanner": self._tool, "ts": ts, **fields})

    def end(
        self,
        status: int,
        duration: float,
        ts: float,
        *,
        ended_by: str = "",
        stopped: str = "",
        why: str = "",
    ) -> bytes | None:
        """Return the end of the scan; None where there is none to tell.

        Args:
            status: the tool's exit status; below 0 where a signal ended it, as `subprocess` has it.
            duration: how long it ran, in seconds.
            ts: now, epoch seconds.
            ended_by: the name of the signal that ended it; empty if none did.
            stopped: the signal it was told to stop with; empty if it ended by itself.
            why: what else went wrong; empty for nothing.
        """
        held_error = str(self._held.get("message", "")) if self.failed else ""
        reasons = [why] if why else []
        if stopped:
            reasons.append(f"{self._tool} was told to stop ({stopped})")
        elif ended_by and not why:
            reasons.append(f"{self._tool} was ended by {ended_by}")
        elif status > 0:
            reasons.append(f"{self._tool} ended with exit status {status}")
        if held_error:
            reasons.append(held_error)
        fields: dict[str, object] = {"duration": round(duration, 3), "ts": ts}
        fields |= {"exit_status": status} if status >= 0 else {"exit_signal": ended_by}
        if reasons:
            fields = {"type": "error", "message": ": ".join(reasons)[:_MAX_MESSAGE], **fields}
            return encode_event({**fields, "fatal": False} if self._part else fields)
        if self._part:
            return None
        return encode_event({"type": "scanCompleted", **fields, **self._held})

    @property
    def failed(self) -> bool:
        """Whether the output itself ended in an error."""
        return self._held.get("type") == "error"
