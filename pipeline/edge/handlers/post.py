"""`POST /api/scans/ID/events`: events by HTTP, answered once they are acked. Shell.

The body is taken as it comes, within its bounds. What is wrong with a request is said when its body has been
read, and let go of: a sender that is cut off in the middle would not read the answer. One that asks first
(`Expect: 100-continue`) is told at once.
"""

from __future__ import annotations

import re
import time

from tornado.http1connection import HTTP1Connection
from tornado.web import stream_request_body

from pipeline.edge.access import FORWARDED_HEADERS
from pipeline.edge.handlers.rest import Events
from pipeline.edge.post_answer import Answer, answer, refusal
from pipeline.edge.posted_body import (
    BodyRefused,
    is_packed,
    media_type,
    owner_problem,
    read_body,
    too_large,
    unpack,
)
from pipeline.edge.service import Service
from pipeline.event import is_scan_id
from pipeline.wire import channel_name

RETRY_AFTER_S = 1
MAX_DISCARDED_BYTES = 16_777_216
"""Of a body that is refused so much is read and let go of, so that its sender reads the answer."""
_DIGITS = 15
"""Of a length: none that is read has more, and Python refuses to read very many."""
_NO_ROOM: Answer = (503, {"error": "the edge holds as much as it may: http_in.max_total_bytes; retry"})
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@stream_request_body
class PostedEvents(Events):
    """The events of a scan: read as `Events` has it, and posted."""

    def initialize(self, service: Service) -> None:
        super().initialize(service)
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._refusal: Answer | None = None

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method != "POST":
            return
        if isinstance(self.request.connection, HTTP1Connection):
            self.request.connection.set_max_body_size(MAX_DISCARDED_BYTES)
        if self._finished:
            return
        try:
            self._refusal = self._refusal or self._refused()
        except BodyRefused as error:
            self._refusal = refusal(error)
        if self._refusal is not None and "Expect" in self.request.headers:
            self._say(self._refusal)

    def address_waits(self) -> float:
        if self.request.method != "POST":
            return super().address_waits()
        return self.service.posters.knock(self.request.remote_ip or "", time.monotonic())

    def user_waits(self) -> float:
        if self.request.method != "POST":
            return super().user_waits()
        return self.service.users.posts.knock(self.identity.subject, time.monotonic())

    def deny(self, problem: str) -> None:
        if self.request.method != "POST":
            super().deny(problem)
        else:
            self._refusal = 429, {"error": problem}  # said once its body is read

    def _refused(self) -> Answer | None:
        """Return why the request is refused for its headers; None if it is not.

        Raises:
            BodyRefused: for the body they announce.
        """
        headers, service = self.request.headers, self.service
        settings = service.config.http_in
        if not settings.enabled:
            return 405, {"error": "this edge takes no events: http_in.enabled is false"}
        if (problem := self.from_elsewhere("events")) is not None:
            return 403, {"error": problem}
        if not settings.through_proxies and any(name in headers for name in FORWARDED_HEADERS):
            service.refuse("forwarded", "events through a proxy", path=self.request.path)
            return 403, {"error": "events through a proxy: http_in.through_proxies is false"}
        if not is_scan_id(self.path_args[0]):
            return 404, {"error": f"{self.path_args[0]!r:.80} is no scan id"}
        self._key = headers.get("Idempotency-Key", "")
        if "Idempotency-Key" in headers and not _KEY.fullmatch(self._key):
            return 400, {"error": "Idempotency-Key: needed are 1 to 255 printable ASCII characters"}
        self._media_type = media_type(headers.get("Content-Type", ""))
        self._packed = is_packed(headers.get("Content-Encoding", ""))
        length = headers.get("Content-Length", "0")
        if length.isdecimal() and (len(length) > _DIGITS or int(length) > settings.max_body_bytes):
            raise too_large(f"{length[:_DIGITS]} bytes", settings.max_body_bytes)
        return None

    def data_received(self, chunk: bytes) -> None:
        settings = self.service.config.http_in
        if self._refusal is not None or self.request.method != "POST":
            return
        size = self._held_bytes + len(chunk)
        if size > settings.max_body_bytes:
            self._refusal = refusal(too_large(f"at least {size} bytes", settings.max_body_bytes))
        elif not self._hold(size):
            self._refusal = _NO_ROOM
        else:
            self._chunks.append(chunk)
            return
        self._chunks.clear()
        self._let_go()

    async def post(self, scan_id: str) -> None:
        settings = self.service.config.http_in
        if self._refusal is not None:
            self._say(self._refusal)
            return
        try:
            plain = b"".join(self._chunks)
            self._chunks.clear()
            if self._packed:
                plain = unpack(plain, settings.max_body_bytes)
            body = read_body(plain, self._media_type, scan_id, settings.max_events)
        except BodyRefused as refused:
            self._say(refusal(refused))
            return
        if not self.identity.admin:
            problem = owner_problem(body.events, self.identity.subject, begins=self.begins)
            if problem is not None:
                self._say((403, {"error": problem}))
                return
        if not self._hold(len(plain)):
            self._say(_NO_ROOM)
            return
        told = await self.service.uplink.post(channel_name("scan", scan_id), body.events, self._key)
        self._say(answer(told, body, scan_id, keyed=bool(self._key)))

    def _say(self, said: Answer) -> None:
        status, document = said
        self.service.counters[f"posts{{status={status}}}"] += 1
        self.service.counters["events_posted"] += _count(document.get("accepted"))
        if status == 503:
            self.set_header("Retry-After", str(RETRY_AFTER_S))
        if status == 405:
            self.set_header("Allow", "GET")
        self.answer(document, status)

    def _hold(self, size: int) -> bool:
        """Have room for so many bytes in all; False, and as before, when there is none."""
        if not self.service.uplink.hold(size - self._held_bytes):
            return False
        self._held_bytes = size
        return True

    def _let_go(self) -> None:
        self.service.uplink.let_go(self._held_bytes)
        self._held_bytes = 0

    def on_finish(self) -> None:
        self._let_go()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._chunks:  # its body was not there yet: nobody will answer it
            self._chunks.clear()
            self._let_go()


def _count(accepted: object) -> int:
    return accepted if isinstance(accepted, int) else 0
