"""A reader and a producer of one scan whose journal is lost or changed on the way."""

from __future__ import annotations

from pathlib import Path

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.readers import StayingNative
from tests.faults.stand import Stand
from tests.faults.traffic import event
from tests.harness import PATIENCE

WORKER = "throttle-batch-0"
SCAN = "office"


class Lives:
    """What is sent and read.

    Args:
        stand: begun here.
        watchers: the reader's loop.
    """

    def __init__(self, stand: Stand, watchers: Watchers) -> None:
        stand.begin()
        self.stand = stand
        self.reader = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
        self.emitter = Emitter(SCAN, run_dir=str(stand.run_dir))
        self.sent: list[bytes] = []

    def send(self, count: int, pad: int = 0) -> None:
        """Send so many events more, each padded, and wait until they are acked and read."""
        more = [event("a", len(self.sent) + number) for number in range(1, count + 1)]
        if pad:
            more = [raw[:-1] + b',"pad":"%b"}' % (b"." * pad) for raw in more]
        self.sent += more
        for raw in more:
            self.emitter.emit(raw)
        self.emitter.flush(30 * PATIENCE)
        self.reader.wait_for(
            lambda reader: more[-1] in reader.events.get(reader.epoch, {}).values(),
        )

    def files(self) -> list[Path]:
        """Return the journal's files."""
        return sorted(self.stand.data_dir.glob("shard-0.sqlite3*"))

    def check_new_life(self, count: int, reason: str = "forgotten") -> None:
        """See that the reader has the first life whole, is told, and has the `count` events of the second."""
        self.emitter.close()
        assert self.reader.problems == []
        assert len(self.reader.events) == 2
        (first, old), (second, new) = self.reader.events.items()
        assert second > first
        assert list(old.values()) == self.sent[:-count]
        assert list(new.values()) == self.sent[-count:]
        assert [reset.reason for reset in self.reader.resets] == [reason]
