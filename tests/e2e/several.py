"""A reader of several scans on one connection: each is held to what a reader of its own is held to."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.e2e.connection import Connection, LoopThread
from tests.e2e.native import SUBPROTOCOL, NativeReader


class _Address(msgspec.Struct):
    """Which scan a message is of."""

    type: str
    scan_id: str | None = None
    scan_id_of_lag: str | None = msgspec.field(default=None, name="scanId")


_decode = msgspec.json.Decoder(_Address).decode


class SeveralReader(Connection):
    """A reader of `/ws/scans`.

    Attributes:
        scans: scan id -> what was got of it.
        stats: the list of scans, as the messages of the statistics tell it.
    """

    def __init__(self, loop: LoopThread, url: str) -> None:
        super().__init__(loop, url)
        self.scans: dict[str, NativeReader] = {}
        self.stats: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"reader of {list(self.scans.values())[:4]}, problems {self.problems[:3]}"

    def subprotocols(self) -> Any:
        return [SUBPROTOCOL]

    def subscribe(self, scan_id: str) -> None:
        """Ask for a scan, from where it was left."""
        scan = self.scans.setdefault(scan_id, NativeReader(self._loop, scan_id))
        action: dict[str, object] = {"action": "subscribe", "scan_id": scan_id}
        if scan.epoch is not None:
            action["since"] = f"{scan.epoch}:{scan.seq}"
        self.say(json.dumps(action))

    def take(self, data: bytes) -> None:
        address = _decode(data)
        scan_id = address.scan_id or address.scan_id_of_lag
        if address.type == "stats":
            told = json.loads(data)
            if told["whole"]:
                self.stats.clear()
            self.stats.update({entry["scan_id"]: entry for entry in told["scans"]})
        elif scan_id is not None and address.type != "error":
            self.scans[scan_id].take(data)
        elif address.type != "closing":
            self.problems.append(data.decode())
