"""What `emit` sends, and its account of what was refused on either side.

Sits between the adapters, or a simulation, and the emitter. Owns no pipe and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.emitter import Emitter, Resumed
from pipeline.errors import EventRejected, NotDelivered, RejectReason
from pipeline.event import check_scan_id, read_event
from pipeline.log import escape
from pipeline.producer.adapters import Problem
from pipeline.wire import split_channel

MAX_SHOWN = 20
"""How many problems are written out; the others are counted."""

NOTICE_S = 5.0
"""After so long without every ack it is said, once, what is waited for."""


class Sender:
    """Args:
    emitter: what sends.
    scan_id: the scan everything goes to; None when each event names its own scan or report.
    notice: told, one line at a time, what was refused and what is waited for.

    Attributes:
        problems: how many inputs and events were refused, here or by the pipeline.
    """

    def __init__(self, emitter: Emitter, scan_id: str | None, notice: Callable[[str], None]) -> None:
        self._emitter = emitter
        self._scan_id = scan_id
        self._notice = notice
        self._sent = 0
        self._rejected = 0
        self._read = 0
        self._channels: set[tuple[str, str]] = set()
        self.problems = 0

    def resume(self, resumed: Iterable[Resumed]) -> None:
        """Count what the emitter has taken over from a spool: it is sent, too."""
        for each in resumed:
            if each.unacked:
                self._sent += each.unacked
                kind, channel_id = split_channel(each.channel)
                self._channels.add((kind, channel_id))

    def send(self, item: bytes | Problem, target: tuple[str, str] | None = None) -> None:
        """Send what an adapter made of the input; waits while the pipeline is slower.

        Args:
            item: an event's JSON, or a problem, which is told.
            target: the kind and id of the channel, if it is neither the sender's scan nor named in the event.
        """
        if isinstance(item, Problem):
            self._tell(f"{item.where}: {item.message}")
            return
        self._read += 1
        try:
            kind, channel_id = self._target(item, target)
            if kind == "report":
                self._emitter.emit(item, report_id=channel_id)
            else:
                self._emitter.emit(item, scan_id=channel_id)
        except EventRejected as error:
            self._tell(f"event {self._read}: {error.reason}: {error.message}")
        else:
            self._sent += 1
            self._channels.add((kind, channel_id))

    def tell_rejected(self) -> None:
        """Tell what the pipeline has refused since the last call."""
        for rejected in self._emitter.rejected():
            self._rejected += 1
            self._tell(f"{rejected.channel} event {rejected.pseq}: {rejected.reason}: {rejected.message}")

    def finish(self) -> None:
        """Wait until everything is acked, however long that takes; say what is waited for if it is long."""
        try:
            self._emitter.flush(NOTICE_S)
        except NotDelivered as error:
            self._notice(f"waiting: {error}")
            self._emitter.flush()

    def summary(self) -> str:
        """Return, in one line, what was sent where and how much was refused."""
        sent = _count(self._sent - self._rejected, "event")
        refused = f", {self.problems} refused" if self.problems else ""
        hidden = self.problems - MAX_SHOWN
        not_shown = f" ({hidden} of them not shown)" if hidden > 0 else ""
        return f"sent {sent} to {self._where()}{refused}{not_shown}"

    def _where(self) -> str:
        if len(self._channels) == 1:
            return " ".join(next(iter(self._channels)))
        if not self._channels and self._scan_id:
            return f"scan {self._scan_id}"
        kinds = sorted({kind for kind, _ in self._channels}, reverse=True) or ["scan"]
        return f"{len(self._channels)} {' and '.join(kind + 's' for kind in kinds)}"

    def _target(self, raw: bytes, target: tuple[str, str] | None) -> tuple[str, str]:
        if self._scan_id is not None:
            return "scan", self._scan_id
        if target is not None:
            return target
        event = read_event(raw)
        report_id = getattr(event, "report_id", None)
        if event.scan_id is None and report_id is None:
            raise EventRejected(RejectReason.BAD_SCAN_ID, "it has no scan_id, and --scan is not given")
        if event.scan_id is None:
            return "report", check_scan_id(report_id)
        return "scan", check_scan_id(event.scan_id)

    def _tell(self, line: str) -> None:
        self.problems += 1
        if self.problems <= MAX_SHOWN:
            self._notice(escape(line))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
