"""REST: lists, statistics, health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from pipeline.edge import connections
from pipeline.edge.filter import DEFAULT_CRITICAL
from pipeline.edge.handlers.asked import asked_filter
from pipeline.edge.handlers.guarded import ANSWER_TIMEOUT_S, Guarded
from pipeline.edge.past import MAX_PAST, Place, past_entry, place_of, read_after, read_flag, read_search
from pipeline.edge.since import read_since, resume_at
from pipeline.edge.statistics import (
    MAX_AFTER,
    MAX_EVENTS,
    read_number,
    rest_document,
    rest_events,
    scan_list,
    scan_statistics,
)
from pipeline.event import is_scan_id
from pipeline.frame import Position
from pipeline.wire import MAX_HOSTS_A_PAGE, Document, PastLife, PastRequest, channel_name

MAX_PASSED_OVER = 10
"""Questions asked for one answer, of a hundred past scans or more each, while they cannot be seen."""


class Statistics(Guarded):
    """`GET /api/scans/stats`."""

    async def get(self) -> None:
        summaries, complete = await self.summaries()
        self.answer(scan_statistics(summaries, complete=complete))


class ScanList(Guarded):
    """`GET /api/scans`; with `?past=true&search=TEXT&limit=N&after=PLACE` those that are in journals only."""

    async def get(self) -> None:
        try:
            past = read_flag("past", self.get_query_argument("past", None))
            search = read_search(self.get_query_argument("search", None))
            limit = read_number("limit", self.get_query_argument("limit", None), 100, 1, MAX_PAST)
            after = read_after(self.get_query_argument("after", None))
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if past:
            lives, following, complete = await self._past(PastRequest(0, search=search), limit, after)
            self.answer({"scans": list(map(past_entry, lives)), "next": following, "complete": complete})
            return
        summaries, complete = await self.summaries()
        self.answer(scan_list(summaries, complete=complete))

    async def _past(
        self, wanted: PastRequest, limit: int, after: Place | None
    ) -> tuple[list[PastLife], str | None, bool]:
        """Return past scans that may be seen, where the list goes on, and whether every shard has answered.

        Those that may not be seen are passed over, so that neither a gap nor `next` tells of them. Only
        behind `MAX_PASSED_OVER` questions for nothing but such ones the list goes on from one of these.
        """
        archive = self.service.archive
        if self.identity.admin:
            return await archive.past(wanted, limit, after)
        found: list[PastLife] = []
        following: str | None = None
        for _ in range(MAX_PASSED_OVER):
            lives, following, complete = await archive.past(wanted, max(limit, 100), after)
            found += self.seen(lives)
            after = read_after(following)
            if len(found) > limit or after is None:
                break
        if len(found) > limit:
            last = found[limit - 1]
            following = place_of(last, self.service.upstream.shard_of(last.channel))
        return found[:limit], following, complete


_UNDELETED = {
    "unknown": (404, "no such scan"),
    "running": (409, "the scan is running: it can be deleted once it has ended"),
    "journal": (503, "the journal cannot be written"),
}
"""Why a scan was not deleted -> status, and what is said."""


class Scan(Guarded):
    """`GET /api/scans/ID?epoch=N`: its state, with the first of its hosts; `DELETE`: let go of it."""

    async def get(self, scan_id: str) -> None:
        try:
            epoch = self.epoch()
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        await self.answer_document(
            scan_id, lambda: self.service.upstream.state(channel_name("scan", scan_id), epoch)
        )

    async def delete(self, scan_id: str) -> None:
        if (problem := self.from_elsewhere("a deletion")) is not None:
            self.answer({"error": problem}, 403)
            return
        try:
            epoch = self.epoch()
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reply = await self.service.upstream.delete(channel_name("scan", scan_id), epoch)
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer; ask whether it is gone"}, 503)
            return
        if reply.problem:
            status, problem = _UNDELETED.get(reply.problem, (500, reply.problem))
            self.answer({"error": problem}, status)
            return
        self.answer({"scan_id": scan_id, "deleted": reply.epochs})

    async def answer_document(self, scan_id: str, ask: Callable[[], Awaitable[Document]]) -> None:
        """Answer with what a worker says of a scan."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                document = await ask()
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer"}, 503)
            return
        if document.header.epoch is None:
            self.answer({"error": "no such scan"}, 404)
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(rest_document(scan_id, document))


class Hosts(Scan):
    """`GET /api/scans/ID/hosts?after=N&limit=N&epoch=N`: its hosts, a page at a time."""

    SUPPORTED_METHODS = ("GET",)  # hosts cannot be deleted, and who tries keeps the scan

    async def get(self, scan_id: str) -> None:
        try:
            epoch = self.epoch()
            after = read_number("after", self.get_query_argument("after", None), 0, 0, MAX_AFTER)
            limit = read_number(
                "limit", self.get_query_argument("limit", None), MAX_HOSTS_A_PAGE, 1, MAX_HOSTS_A_PAGE
            )
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        await self.answer_document(
            scan_id, lambda: self.service.upstream.hosts(channel_name("scan", scan_id), epoch, after, limit)
        )


class Events(Guarded):
    """`GET /api/scans/ID/events?since=EPOCH:SEQ&limit=N`: what is kept, a part at a time.

    Filters are those of the streams.
    """

    async def get(self, scan_id: str) -> None:
        try:
            wanted = asked_filter(self)
            since = read_since(self.get_query_argument("since", None))
            limit = read_number("limit", self.get_query_argument("limit", None), 1_000, 1, MAX_EVENTS)
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        channel = channel_name("scan", scan_id)
        position = since if isinstance(since, Position) else None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = await self.service.upstream.head(channel, position.epoch if position else None)
                if head.epoch is None or self.life not in (None, head.epoch):
                    self.answer({"error": "no such scan"}, 404)
                    return
                start = resume_at(position, head)
                if self.life is not None and position is not None and position.epoch != self.life:
                    start = None  # a life before this one may have been another's
                epoch, first = start if start is not None else (head.epoch, head.held)
                page, _ = await self.service.upstream.page(channel, epoch, first)
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer"}, 503)
            return
        self.set_header("Content-Type", "application/json; charset=utf-8")
        resumed = None if position is None else start is not None
        if wanted is not None:
            wanted = wanted.over(DEFAULT_CRITICAL if head.critical is None else head.critical)
        self.finish(rest_events(scan_id, page, resumed, limit, wanted))


class Connections(Guarded):
    """`GET /api/connections?limit=N`: those of every edge of this pipeline."""

    of_operators = True

    async def get(self) -> None:
        try:
            limit = connections.read_limit(self.get_query_argument("limit", None))
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        replies, complete = await self.service.all_connections(limit)
        self.answer(connections.connection_list(replies, limit, complete=complete))


class Stages(Guarded):
    """`GET /api/pipeline`: every stage of the pipeline, how it is, and how much passes."""

    of_operators = True

    async def get(self) -> None:
        document = await self.service.roll.document()
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(document)


class Health(Guarded):
    """`GET /healthz`: the loop is alive."""

    public = True

    def get(self) -> None:
        self.answer({"status": "alive"})


class Readiness(Guarded):
    """`GET /readyz`: every shard sends beacons and can write, and connections are taken."""

    public = True

    def get(self) -> None:
        silent = self.service.upstream.silent_shards(time.monotonic())
        unwritable = self.service.upstream.unwritable_shards()
        if self.service.draining:
            self.answer({"status": "draining", "reason": "shutting down"}, 503)
        elif silent:
            reason = "no beacon from shard " + ", ".join(map(str, silent))
            self.answer({"status": "degraded", "reason": reason, "silent_shards": silent}, 503)
        elif unwritable:
            reason = "journal cannot be written: shard " + ", ".join(map(str, unwritable))
            self.answer({"status": "degraded", "reason": reason, "unwritable_shards": unwritable}, 503)
        else:
            self.answer({"status": "ready", "connections": self.service.connections})


class NotFound(Guarded):
    """Any other path."""

    public = True

    def get(self) -> None:
        self.answer({"error": "no such page"}, 404)
