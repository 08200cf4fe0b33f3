"""REST: past scans compared, and deleted. Shell."""

from __future__ import annotations

import asyncio

import msgspec

from pipeline.edge.comparing import Comparison, TooLarge
from pipeline.edge.handlers.export import pages_of_hosts
from pipeline.edge.handlers.guarded import ANSWER_TIMEOUT_S, Guarded
from pipeline.edge.past import read_after, read_reference
from pipeline.edge.roster import ENDED
from pipeline.edge.statistics import channel_scans
from pipeline.event import is_scan_id
from pipeline.wire import Document, PastRequest, channel_name, split_channel

MAX_ASKED = 20
"""Questions asked for an earlier scan, of 50 past ones each, while those found may not be seen."""


class _About(msgspec.Struct, frozen=True):
    status: str = ""
    name: str = ""
    targets: tuple[str, ...] = ()
    targets_left_out: int = 0
    started_at: str = ""
    hosts_left_out: int = 0


_read_about = msgspec.json.Decoder(_About).decode


class Compare(Guarded):
    """`GET /api/scans/ID/compare?with=OTHER&epoch=N`: what changed since an earlier scan."""

    async def get(self, scan_id: str) -> None:
        try:
            epoch = self.epoch()
            other = read_reference("with", self.get_query_argument("with", None))
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        with self.under_way() as taken:
            if taken:
                await self._answer(scan_id, epoch, other)

    async def _answer(self, scan_id: str, epoch: int | None, other: tuple[str, int | None] | None) -> None:
        try:
            async with self.service.comparing:
                await self._compare(scan_id, epoch, other)
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer"}, 503)
        except LookupError as error:
            self.answer({"error": str(error.args[0])}, 404)
        except TooLarge as error:
            self.answer({"error": str(error)}, 422)

    async def _compare(self, scan_id: str, epoch: int | None, other: tuple[str, int | None] | None) -> None:
        now = await self._state(scan_id, epoch)
        about = _read_about(now.body)
        if other is None:
            other = await self._earlier(scan_id, now.header.epoch or 0, about)
        before = await self._state(*other)
        was = _read_about(before.body)
        comparison = Comparison()
        async for page in pages_of_hosts(
            self.service.upstream, before.header.channel, before.header.epoch or 0
        ):
            comparison.take_before(page)
            await asyncio.sleep(0)  # others have their turn
        async for page in pages_of_hosts(self.service.upstream, now.header.channel, now.header.epoch or 0):
            comparison.take_now(page)
            await asyncio.sleep(0)
        comparison.finish()
        self.answer(
            {
                "scan": _told(now, about),
                "with": _told(before, was),
                "same_targets": set(about.targets) == set(was.targets),
                "counts": comparison.counts,
                "changes": comparison.changes,
                "left_out": comparison.left_out,
                "partial": comparison.partial or bool(about.hosts_left_out or was.hosts_left_out),
            }
        )

    async def _state(self, scan_id: str, epoch: int | None) -> Document:
        if not self.identity.admin:
            epoch = await self.visible(scan_id, epoch)
            if epoch is None:
                raise LookupError(f"no such scan: {scan_id}")
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            state = await self.service.upstream.state(channel_name("scan", scan_id), epoch)
        if state.header.epoch is None:
            raise LookupError(f"no such scan: {scan_id}")
        return state

    async def _earlier(self, scan_id: str, epoch: int, about: _About) -> tuple[str, int | None]:
        """Return the latest scan of the same targets before this one; where none are told, of the same id."""
        channel = channel_name("scan", scan_id)
        wanted = PastRequest(0, targets=about.targets) if about.targets else PastRequest(0, channel=channel)
        found: list[tuple[int, str]] = []
        summaries, _ = await self.summaries()
        found += [
            (scan.epoch, scan.channel)
            for scan in channel_scans(summaries)
            if scan.status in ENDED
            and scan.epoch < epoch
            and (set(scan.targets) == set(about.targets) if about.targets else scan.channel == channel)
        ]
        following: str | None = None
        for _ in range(MAX_ASKED):
            lives, following, _ = await self.service.archive.past(wanted, 50, read_after(following))
            earlier = [(life.epoch, life.channel) for life in self.seen(lives) if life.epoch < epoch]
            if earlier or following is None:
                break
        found += earlier
        if not found:
            raise LookupError("no earlier scan of the same targets is kept")
        best_epoch, best = max(found)
        return split_channel(best)[1], best_epoch


def _told(state: Document, about: _About) -> dict[str, object]:
    return {
        "scan_id": split_channel(state.header.channel)[1],
        "epoch": state.header.epoch,
        "seq": state.header.seq,
        "status": about.status,
        "name": about.name,
        "targets": about.targets,
        "started_at": about.started_at,
    }
