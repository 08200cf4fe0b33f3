"""Readers of HeroForge's wire: a plain one, and one that does what HeroForge's frontend does."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tests.e2e.connection import Connection, LoopThread
from tests.e2e.native import read_gist


class HeroForgeReader(Connection):
    """A reader of HeroForge's wire: one event object a message.

    Attributes:
        objects: every message, decoded.
        raw: every message as it came.
    """

    def __init__(self, loop: LoopThread, url: str) -> None:
        super().__init__(loop, url)
        self.objects: list[dict[str, Any]] = []
        self.raw: list[bytes] = []

    def __repr__(self) -> str:
        return f"HeroForge's reader of {self.url}, {self.messages} messages, closes {self.closes}"

    def take(self, data: bytes) -> None:
        self.raw.append(data)
        self.objects.append(msgspec.json.decode(data))

    def has(self, type_: str) -> bool:
        """Say whether a message of this type came."""
        return any(message["type"] == type_ for message in self.objects)

    def check(self, sent: list[bytes]) -> None:
        """Hold the events got against what was sent: in order, none twice, only progress left out.

        Raises:
            AssertionError: something is lost, twice, out of order, or not what was sent.
        """
        events = iter(
            raw for raw, message in zip(self.raw, self.objects, strict=True) if "scanId" not in message
        )
        event = next(events, None)
        for seq, raw in enumerate(sent, 1):
            if event == raw:
                event = next(events, None)
            else:
                assert read_gist(raw).type == "scanProgress", f"{seq} is lost: {raw!r}"
        assert event is None, f"out of order, twice, or never sent: {event!r}"


class WebSocketManager(HeroForgeReader):
    """What HeroForge's frontend does: it comes back by itself, after 1 s doubling to 8 s, 10 times.

    Attributes:
        statuses: what it told its page: `connecting`, `connected`, `disconnected`, `failed`.
    """

    MAX_ATTEMPTS = 10
    FIRST_DELAY_S = 1.0
    MAX_DELAY_S = 8.0

    def __init__(self, loop: LoopThread, url: str) -> None:
        super().__init__(loop, url)
        self.statuses: list[str] = []
        self._over = False

    def connect(self) -> None:
        self._reading = self._loop.start(self._stay())
        self.wait_for(lambda manager: "connected" in manager.statuses)

    async def _stay(self) -> None:
        attempts = 0
        while not self._over:
            self._say("connecting")
            try:
                self._socket = socket = await self._open()
            except OSError:
                self._say("disconnected")
            else:
                attempts = 0
                self._say("connected")
                await self._read(socket)
                self._say("disconnected")
            attempts += 1
            if attempts > self.MAX_ATTEMPTS:
                self._say("failed")
                return
            if not self._over:
                await asyncio.sleep(min(self.FIRST_DELAY_S * 2 ** (attempts - 1), self.MAX_DELAY_S))

    def _say(self, status: str) -> None:
        with self.changed:
            self.statuses.append(status)
            self.changed.notify_all()

    def disconnect(self) -> None:
        self._over = True
        super().disconnect()
