"""`GET /api/scans/ID/export`: a scan as a file, made while it is sent. Shell.

What is held at a time is a page of hosts or of events, whatever the size of the scan; a client that reads
slowly is waited for. A worker that does not answer any more breaks the connection off, so that nobody takes a
part for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tornado.iostream import StreamClosedError

from pipeline.edge.export.document import DOCUMENT_END, document_head, document_hosts, event_lines
from pipeline.edge.export.hosts import read_hosts
from pipeline.edge.export.report import Worst, read_facts, report_end, report_head, report_hosts
from pipeline.edge.export.table import table_head, table_rows
from pipeline.edge.handlers.guarded import ANSWER_TIMEOUT_S, Guarded
from pipeline.edge.upstream import Upstream
from pipeline.event import is_scan_id
from pipeline.wire import MAX_HOSTS_A_PAGE, Document, HostsHeader, StateHeader, channel_name, split_events

PART_TIMEOUT_S = 30.0
"""How long a part of a file is waited for."""

FORMATS = {
    "json": "application/json; charset=utf-8",
    "ndjson": "application/x-ndjson; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
"""Format, also the file's suffix -> its type."""


async def pages_of_hosts(upstream: Upstream, channel: str, epoch: int) -> AsyncIterator[bytes]:
    """Yield all hosts of a life, each page a JSON array.

    Raises:
        TimeoutError: its worker does not answer.
        LookupError: it was deleted meanwhile.
    """
    after: int | None = 0
    while after is not None:
        async with asyncio.timeout(PART_TIMEOUT_S):
            page = await upstream.hosts(channel, epoch, after, MAX_HOSTS_A_PAGE)
        if page.header.epoch is None:
            raise LookupError(channel)
        assert isinstance(page.header, HostsHeader)
        yield page.body
        after = page.header.next


async def export(upstream: Upstream, scan_id: str, state: Document, form: str) -> AsyncIterator[bytes]:
    """Yield a scan's file, a part at a time.

    Args:
        upstream: the way to its worker.
        scan_id: the scan.
        state: its state.
        form: one of `FORMATS`.

    Raises:
        TimeoutError: its worker does not answer.
        LookupError: it was deleted meanwhile.
    """
    header, channel = state.header, channel_name("scan", scan_id)
    assert isinstance(header, StateHeader)
    assert header.epoch is not None
    hosts = pages_of_hosts(upstream, channel, header.epoch)
    if form == "ndjson":
        async for part in _events(upstream, scan_id, header.epoch, header.seq):
            yield part
    elif form == "json":
        yield document_head(scan_id, header, state.body)
        first = True
        async for page in hosts:
            yield document_hosts(page, first=first)
            first = False
        yield DOCUMENT_END
    elif form == "csv":
        yield table_head()
        async for page in hosts:
            yield table_rows(read_hosts(page))
    else:
        facts, worst = read_facts(state.body), Worst()
        async for page in hosts:
            worst.take(read_hosts(page))
        yield report_head(scan_id, facts, worst)
        async for page in pages_of_hosts(upstream, channel, header.epoch):
            yield report_hosts(read_hosts(page))
        yield report_end(facts)


async def _events(upstream: Upstream, scan_id: str, epoch: int, upto: int) -> AsyncIterator[bytes]:
    channel, first = channel_name("scan", scan_id), 1
    while first <= upto:
        async with asyncio.timeout(PART_TIMEOUT_S):
            page, _ = await upstream.page(channel, epoch, first)
        header = page.header
        if not header.held:
            raise LookupError(channel)
        events = split_events(page.body)[: max(0, upto - header.first + 1)]
        if events:
            yield event_lines(scan_id, epoch, header.first, events)
        elif not header.damaged:
            return  # the last events of a running scan are in no frame yet
        first = max(header.first + len(events), header.damaged + 1)


class Export(Guarded):
    """`GET /api/scans/ID/export?format=F&epoch=N`."""

    async def get(self, scan_id: str) -> None:
        form = self.get_query_argument("format", "json")
        try:
            epoch = self.epoch()
            if form not in FORMATS:
                raise ValueError(f"format={form[:40]!r}: one of {', '.join(FORMATS)} is needed")
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        with self.under_way() as taken:
            if taken:
                await self._export(scan_id, epoch, form)

    async def _export(self, scan_id: str, epoch: int | None, form: str) -> None:
        upstream = self.service.upstream
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                state = await upstream.state(channel_name("scan", scan_id), epoch)
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer"}, 503)
            return
        if state.header.epoch is None:
            self.answer({"error": "no such scan"}, 404)
            return
        self.set_header("Content-Type", FORMATS[form])
        self.set_header("Content-Disposition", f'attachment; filename="scan-{scan_id}.{form}"')
        self.service.counters[f"exports{{format={form}}}"] += 1
        try:
            async for part in export(upstream, scan_id, state, form):
                self.write(part)
                await self.flush()
        except StreamClosedError:
            return  # it left
        except (TimeoutError, LookupError) as error:
            self.service.log.warning("export broken off", scan=scan_id, format=form, problem=repr(error))
            self.detach().close()
            return
        await self.finish()
