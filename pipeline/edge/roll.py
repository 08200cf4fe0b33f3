"""What `GET /api/pipeline` tells: every stage is asked once for all who ask at about the same time. Shell.

The asking blocks, so that it has a thread; without anybody who asks there is none.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from pipeline.endpoints import Endpoints
from pipeline.roll_call import RollCall
from pipeline.runtime import wall_ms
from pipeline.stages import Stages

AGE_S = 0.5
"""An answer that is not older is given again."""


class Roll:
    """Args:
    endpoints: where the stages' sockets are.
    shards: how many shards there are.
    """

    def __init__(self, endpoints: Endpoints, shards: int) -> None:
        self._endpoints = endpoints
        self._shards = shards
        self._stages = Stages()
        self._call: RollCall | None = None
        self._thread = ThreadPoolExecutor(1, "roll-call")
        self._answer: asyncio.Future[bytes] | None = None
        self._asked_at = float("-inf")

    async def document(self) -> bytes:
        """Return the answer, as JSON."""
        now = time.monotonic()
        if self._answer is None or (self._answer.done() and now - self._asked_at >= AGE_S):
            self._asked_at = now
            self._answer = asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        return await asyncio.shield(self._answer)

    async def close(self) -> None:
        """Let go of everything; an answer that is being made is waited for."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _ask(self) -> bytes:
        if self._call is None:
            self._call = RollCall(self._endpoints, self._shards)
        told = self._call.ask()
        return msgspec.json.encode(self._stages.document(told, time.monotonic(), wall_ms()))

    def _close(self) -> None:
        if self._call is not None:
            self._call.close()
