"""What requests pass, but those for WebSockets and files: where from, of whom, for what. Shell.

`guard` judges the request and its token. With accounts, a request for one scan is let through only if that
may be seen, before its handler is asked: so no handler can forget it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import msgspec

from pipeline.edge.access import Visit
from pipeline.edge.accounts import may_see
from pipeline.edge.handlers.guard import Discreet, enter, identify, methods, share
from pipeline.edge.past import read_epoch
from pipeline.edge.service import Service
from pipeline.errors import TokenRejected
from pipeline.event import is_scan_id
from pipeline.tokens import EVERYBODY, Identity
from pipeline.wire import ChannelSummary, PastLife, channel_name

ANSWER_TIMEOUT_S = 5.0
RETRY_AFTER_S = 1.0
"""When to come again where nobody can tell when there will be room."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


Owned = TypeVar("Owned", ChannelSummary, PastLife)


class Guarded(Discreet):
    """A request that only this machine's own pages and programs may make; with accounts, who may do it.

    Attributes:
        public: whether it needs no token: it tells nothing of any scan.
        of_operators: whether it needs the role `admin`.
        waits: whether a scan that is not there is waited for: then its reader finds out what may be seen.
        visit: what the request was judged to be; None before.
        identity: who asks.
        life: the life of the scan in its path that may be seen, and no other; None where every one may.
        begins: events that are posted begin a scan, as far as is known.
    """

    public = False
    of_operators = False
    waits = False

    def initialize(self, service: Service) -> None:
        self.service = service
        self.visit: Visit | None = None
        self.identity = EVERYBODY
        self.life: int | None = None
        self.begins = False

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        self.visit = visit = enter(self.request, self.service)
        path = self.request.path
        if visit.refused is not None:
            self.service.refuse("host", visit.refused, path=path)
        elif visit.foreign is not None:
            self.service.refuse("origin", visit.foreign, path=path)
        if (problem := visit.refused or visit.foreign) is not None:
            self.answer({"error": problem}, 403)
        elif share(self, visit, self.service):
            self.finish()
        elif self.public:
            return
        elif wait_s := self.address_waits():
            self.too_fast("rate", "too many requests at once", wait_s)
        elif self.service.accounts.on:
            await self._admit()

    def address_waits(self) -> float:
        """Count a request of its address; return after how many seconds to come again, 0 for at once."""
        return self.service.askers.knock(self.request.remote_ip or "", time.monotonic())

    def user_waits(self) -> float:
        """Count a request of its user; return after how many seconds to come again, 0 for at once."""
        return self.service.users.requests.knock(self.identity.subject, time.monotonic())

    def too_fast(self, reason: str, problem: str, wait_s: float) -> None:
        """Refuse a request, and say when to come again.

        Args:
            reason: what it is counted by.
            problem: in words.
            wait_s: seconds.
        """
        self.service.refuse(reason, problem, path=self.request.path)
        self.set_header("Retry-After", str(math.ceil(wait_s)))
        self.deny(problem)

    def deny(self, problem: str) -> None:
        """Answer that there was too much."""
        self.answer({"error": problem}, 429)

    @contextmanager
    def under_way(self) -> Iterator[bool]:
        """Count a request that takes long while it lasts; False when it is refused: there are too many.

        By address; with accounts by user, too.
        """
        address, subject = self.request.remote_ip or "", self.identity.subject
        places = [(self.service.exports, address)]
        if self.service.accounts.on:
            places.append((self.service.users.exports, subject))
        with ExitStack() as stack:
            for place, name in places:
                if not place.enter(name):
                    self.too_fast("exports", "too many files and comparisons at once", RETRY_AFTER_S)
                    yield False
                    return
                stack.callback(place.leave, name)
            yield True

    async def _admit(self) -> None:
        """Let in who may do this: what may not be seen is not there."""
        path = self.request.path
        try:
            self.identity = self.identify()
        except TokenRejected as error:
            self.service.refuse("token", f"{error.problem}: {error}", path=path)
            self.set_header("WWW-Authenticate", "Bearer")
            self.answer({"error": str(error)}, 401)
            return
        if wait_s := self.user_waits():
            self.too_fast("user", "too many requests of this user at once", wait_s)
        elif self.identity.admin:
            return
        elif self.of_operators:
            self.service.refuse("role", "not an admin", path=path)
            self.answer({"error": "the role admin is needed"}, 403)
        elif self.path_args and not self.waits:
            await self._find_life(self.path_args[0] or "")

    def identify(self) -> Identity:
        """Return who asks.

        Raises:
            TokenRejected: nobody says so, or it is not accepted.
        """
        return identify(self.request, self.service)

    async def _find_life(self, scan_id: str) -> None:
        try:
            epoch = read_epoch(self.get_query_argument("epoch", None))
        except ValueError:
            epoch = None  # it is refused later, for what it is
        try:
            if self.request.method == "POST":
                await self._find_out_whose(scan_id)
                return
            self.life = await self.visible(scan_id, epoch, to_delete=self.request.method == "DELETE")
        except TimeoutError:
            self.answer({"error": "the scan's worker does not answer"}, 503)
            return
        if self.life is None:
            self.answer({"error": "no such scan"}, 404)

    async def _find_out_whose(self, scan_id: str) -> None:
        """Let events through to a scan that is one's own, or that is not there yet."""
        if not is_scan_id(scan_id):
            return  # it is refused for that
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reply = await self.service.upstream.access(channel_name("scan", scan_id), None)
        self.begins = reply.epoch is None
        if not self.begins and not self.identity.may_delete(reply.owner):
            self.answer({"error": "no such scan"}, 404)

    async def visible(self, scan_id: str, epoch: int | None, *, to_delete: bool = False) -> int | None:
        """Return which life of a scan may be seen, or deleted; None when there is none, or it may not.

        Args:
            scan_id: the scan.
            epoch: the life asked for; None for the present one.
            to_delete: whether it is to be deleted.

        Raises:
            TimeoutError: its worker does not answer.
        """
        if not is_scan_id(scan_id):
            return None
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reply = await self.service.upstream.access(channel_name("scan", scan_id), epoch)
        allowed = self.identity.may_delete(reply.owner) if to_delete else may_see(self.identity, reply)
        return reply.epoch if allowed else None

    def epoch(self) -> int | None:
        """Return the life that is asked for, if it may be seen; None for the present one.

        Raises:
            ValueError: that is no epoch.
        """
        epoch = read_epoch(self.get_query_argument("epoch", None))
        return epoch if self.life is None else self.life

    def from_elsewhere(self, what: str) -> str | None:
        """Say why a request that changes something is refused: a page of another site makes it; count it.

        Args:
            what: what is asked for, as in `a deletion`.
        """
        listed = self.visit is not None and self.visit.guest is not None
        if listed or self.request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
            return None
        problem = f"{what} from another site"
        self.service.refuse("origin", problem, path=self.request.path)
        return problem

    async def summaries(self) -> tuple[list[ChannelSummary], bool]:
        """Return the summary of every channel that may be seen, and whether every shard has answered."""
        found, complete = await self.service.summaries()
        return self.seen(found), complete

    def seen(self, found: list[Owned]) -> list[Owned]:
        """Return what of it may be seen."""
        return [one for one in found if may_see(self.identity, one)]

    def answer(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(msgspec.json.encode(value))

    def write_error(self, status_code: int, **_details: object) -> None:
        if status_code == 405:
            self.set_header("Allow", ", ".join(methods(type(self))))
        if self.visit is not None:
            share(self, self.visit, self.service)  # what was set before is gone
        self.answer({"error": self._reason}, status_code)
