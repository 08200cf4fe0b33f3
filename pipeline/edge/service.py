"""What every handler of one edge shares: the hub, the way to the workers, open connections. Shell."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from tornado.iostream import IOStream

from pipeline import __version__
from pipeline.edge.access import NO_HOST, Access
from pipeline.edge.accounts import Accounts, may_see
from pipeline.edge.archive import Archive
from pipeline.edge.close_codes import DRAINING, LIMIT, CloseCode
from pipeline.edge.cohort import Round
from pipeline.edge.config import EdgeConfig
from pipeline.edge.deflate import Contexts
from pipeline.edge.fan_out import FanOut, Ladders
from pipeline.edge.feed import Feed
from pipeline.edge.heartbeat import SLOTS, Wheel
from pipeline.edge.hub import Hub
from pipeline.edge.roll import Roll
from pipeline.edge.roster import News, Roster
from pipeline.edge.sayings import Greeting
from pipeline.edge.session import Session
from pipeline.edge.stats_stream import StatsStream
from pipeline.edge.survey import Survey
from pipeline.edge.ticket_office import TicketOffice
from pipeline.edge.told import Figures, summary
from pipeline.edge.uplink import Uplink
from pipeline.edge.upstream import Upstream
from pipeline.edge.users import Users
from pipeline.edge.visitors import Places, Rate, Rates, Visitors
from pipeline.errors import LayoutError
from pipeline.log import LimitedLog, Log
from pipeline.metrics import HISTOGRAMS, Histogram, Scrape
from pipeline.runtime import wall_ms
from pipeline.service_manager import ServiceManager
from pipeline.sockets import Binder
from pipeline.tokens import EVERYBODY, Identity
from pipeline.vitals import Vitals
from pipeline.wire import (
    MAX_CONNECTIONS_TOLD,
    Beacon,
    ChannelSummary,
    ConnectionsReply,
    ConnectionsRequest,
    ConnectionSummary,
    FrameMessage,
)

LIST_AGE_S = 0.25
"""A list of scans that is not older is given again, so that many pages that poll cost one question."""
LIST_TIMEOUT_S = 1.0
MAX_COMPARED = 2
"""Comparisons at a time; each holds the hosts of a scan. The others wait."""


AllConnections = Callable[[int], Awaitable[tuple[list[ConnectionsReply], bool]]]


class Driver(Protocol):
    """What sends to one reader."""

    def drive(self) -> None:
        """Send what is due."""

    def late(self, turn: Round, taken: int) -> None:
        """Go on with one that is not in step any more."""

    def completed(self) -> None:
        """Close the connection: the channel was cleaned up."""

    def degraded(self, is_so: bool) -> None:
        """Tell that the channel's worker is silent, or there again."""


class Connection(Protocol):
    """One browser, as the service sees it."""

    connection_id: str

    def beat(self, now: float) -> None:
        """Ping it, or close it when it is gone."""

    def end(self, code: CloseCode) -> None:
        """Close it; does nothing when it is closing."""

    def drop(self) -> None:
        """End it now, whether or not the browser has taken leave."""

    def told(self, now: float) -> Sequence[Figures]:
        """Return what it has cost and been given; nothing before it is open."""


class Service:
    """Args:
    config: what the edge can be told.
    binder: makes the sockets.
    log: where lines go.
    on_fatal: given an error that the edge cannot go on with.

    Attributes:
        manager: who is told that this edge lives.
        draining: it has been told to stop; `/readyz` is red.
        admits: whether connections are taken; after a grace, no longer.
        archive: the scans that are no longer in memory.
        comparing: held while two scans are compared.
        empty: set once none are taken and the last has gone.
        contexts: the windows that readers in step keep.
        streams: Tornado's connections whose answers are streams of events.
        max_connections: how many there may be: what is configured, or what the process has descriptors for.
    """

    def __init__(
        self, config: EdgeConfig, binder: Binder, log: Log, on_fatal: Callable[[LayoutError], None]
    ) -> None:
        self.config = config
        self.log = log
        self._limited_log = LimitedLog(log)
        self._probe_log = LimitedLog(log, 1, 60.0)
        self._refused = binder.refused
        self._same_clock = not binder.endpoints.workers_elsewhere
        self.hub = Hub(config.ring, config.limits.max_lag_s)
        self._fan_out = FanOut(self._late)
        self._ladders = Ladders(self._drive_one)
        self.counters: Counter[str] = Counter()
        self._took = {name: Histogram() for name in HISTOGRAMS["edge"]}
        self.upstream = Upstream(config, binder, log, self._on_frames, self._on_beacon, on_fatal)
        self.archive = Archive(self.upstream)
        self.comparing = asyncio.Semaphore(MAX_COMPARED)
        self.greeting = Greeting(config.heartbeat.interval_s, config.heartbeat.client_timeout_s, __version__)
        self.access = Access(config.http)
        self.accounts = Accounts(config.accounts, log, self.counters)
        requests, limits = config.requests, config.limits
        self.visitors = Visitors(
            limits.max_connections_per_address, Rate(requests.connects_per_s, requests.connect_burst)
        )
        self.inbound_rate = Rate(limits.max_inbound_per_s, 2 * limits.max_inbound_per_s)
        self.max_connections = limits.max_connections
        http_in = config.http_in
        self.posters = Rates(Rate(http_in.requests_per_s, http_in.request_burst))
        self.askers = Rates(Rate(requests.requests_per_s, requests.request_burst))
        self.exports = Places(requests.max_exports)
        self.users = Users(config.users)
        self.contexts = Contexts(config.compression.max_contexts)
        self.tickets: TicketOffice
        self.uplink: Uplink
        self.all_connections: AllConnections
        self.roll: Roll
        self.manager = ServiceManager(os.environ)
        self.draining = False
        self.admits = True
        self.empty = asyncio.Event()
        self.streams: WeakSet[IOStream] = WeakSet()
        self._wheel: Wheel[Connection] = Wheel(config.heartbeat.interval_s)
        self._slots: dict[Connection, tuple[int, str]] = {}
        self._seats: dict[Connection, str] = {}
        self._drivers: dict[Session, Driver] = {}
        self._silent: set[int] = set()
        self._started_at = time.monotonic()
        self._waiting: Counter[str] = Counter()
        self._list: asyncio.Task[tuple[list[ChannelSummary], bool]] | None = None
        self._list_at = float("-inf")
        self._roster = Roster(config.pipeline.shards)
        self._asked: asyncio.Task[Roster] | None = None
        self._asked_at = float("-inf")
        self._survey = Survey(self.members)
        self.vitals = Vitals(os.getpid(), __version__, self._started_at)
        self._stats_of: WeakValueDictionary[Identity, StatsStream] = WeakValueDictionary()

    def follow(self, config: EdgeConfig, max_connections: int) -> None:
        """Go on with another configuration; browsers that are connected stay so.

        Args:
            max_connections: how many of them there may be from now on.
        """
        self.config = config
        self.access = Access(config.http)
        requests, limits = config.requests, config.limits
        self.visitors.follow(
            limits.max_connections_per_address, Rate(requests.connects_per_s, requests.connect_burst)
        )
        self.inbound_rate = Rate(limits.max_inbound_per_s, 2 * limits.max_inbound_per_s)
        self.askers.follow(Rate(requests.requests_per_s, requests.request_burst))
        self.exports.follow(requests.max_exports)
        self.contexts.most = config.compression.max_contexts
        self.users.follow(config.users)
        self.posters.follow(Rate(config.http_in.requests_per_s, config.http_in.request_burst))
        self.uplink.follow(config.http_in)
        self.max_connections = max_connections

    # --- connections ------------------------------------------------------------------------------

    def admit(self, connection: Connection, address: str) -> CloseCode | None:
        """Take in a connection, or return the code to close it with.

        Args:
            address: where it comes from; connections are counted by it.
        """
        if not self.admits:
            return DRAINING
        if len(self._slots) >= self.max_connections or not self.visitors.enter(address):
            return LIMIT
        self._slots[connection] = (self._wheel.add(connection), address)
        return None

    def seat(self, connection: Connection, identity: Identity) -> CloseCode | None:
        """Count a connection that is taken in as a user's, or return the code to close it with.

        Args:
            identity: whose it is, as an accepted token says.
        """
        wait_s = self.users.requests.knock(identity.subject, time.monotonic())
        if wait_s or not self.users.connections.enter(identity.subject):
            return LIMIT
        self._seats[connection] = identity.subject
        return None

    def release(self, connection: Connection) -> None:
        """Forget a connection."""
        subject = self._seats.pop(connection, None)
        if subject is not None:
            self.users.connections.leave(subject)
        held = self._slots.pop(connection, None)
        if held is not None:
            slot, address = held
            self._wheel.remove(connection, slot)
            self.visitors.leave(address)
        if not self.admits and not self._slots:
            self.empty.set()

    def drive_with(self, session: Session, driver: Driver | None) -> None:
        """Say what sends what is due to a session; None when it is gone."""
        if driver is None:
            self._drivers.pop(session, None)
            self._ladders.remove(session)
        else:
            self._drivers[session] = driver

    def drive_at(self, session: Session, per_s: int) -> None:
        """Have a session driven at the ticks of its pace; at full pace, when something comes."""
        self._ladders.put(session, per_s)

    def may_wait(self, address: str) -> bool:
        """Count a connection that waits for a scan that does not exist; False past the limit."""
        if self._waiting[address] >= self.config.limits.max_waiting:
            return False
        self._waiting[address] += 1
        return True

    def waits_no_more(self, address: str) -> None:
        """Take back what `may_wait` counted."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]

    def refuse(self, reason: str, problem: str, **fields: object) -> None:
        """Count a refused request and log it; a page that asks on and on does not fill the log.

        Args:
            reason: `host`, `origin`, `user`, `rate`, or a close code.
            problem: what was wrong.
            fields: who asked for what.
        """
        self.counters[f"refused{{reason={reason}}}"] += 1
        log = self._probe_log if problem == NO_HOST else self._limited_log
        log.warning("refused", time.monotonic(), reason=reason, problem=problem, **fields)

    def told(self, request: ConnectionsRequest) -> ConnectionsReply:
        """Answer the question for the connections of this edge, the oldest first."""
        now, wall = time.monotonic(), wall_ms()
        found: list[ConnectionSummary] = []
        for connection, (_, address) in self._slots.items():
            if len(found) >= min(request.limit, MAX_CONNECTIONS_TOLD):
                break
            figures = connection.told(now)
            found += summary(connection.connection_id, self.config.edge.index, address, figures, wall)
        return ConnectionsReply(request.id, len(self._slots), found, self._survey.look(now))

    def counted(self) -> Counter[str]:
        """Return the counters of all that serves here."""
        return self.counters + self.upstream.counters + self.uplink.counters

    def figures(self) -> dict[str, float]:
        """Return the counters, and how things are now."""
        counted = self.counted()
        for reason, times in self._refused().items():
            counted[f"peers_refused{{reason={reason}}}"] = times
        return {
            **{name: float(value) for name, value in counted.items()},
            "connections_open": float(len(self._slots)),
            "addresses": float(self.visitors.addresses),
            "users": float(self.users.known),
            "silent_shards": float(len(self.upstream.silent_shards(time.monotonic()))),
            "draining": float(self.draining),
        }

    def scraped(self) -> Scrape:
        """Return the figures that Prometheus is told."""
        feeds = self.hub.feeds()
        now: Counter[str] = Counter(
            f"readers{{wire={session.variant.wire},pace={session.pace.per_s}}}" for session in self._drivers
        )
        told = {
            **self.figures(),
            **now,
            "readers_behind": float(sum(len(feed.loose) for feed in feeds)),
            "channels_watched": float(len(feeds)),
            "ring_bytes": float(sum(feed.held_bytes for feed in feeds)),
        }
        return Scrape([({}, told)], self._took)

    @property
    def connections(self) -> int:
        """How many browsers are connected."""
        return len(self._slots)

    async def beat(self) -> None:
        """Turn the heartbeat's wheel for ever."""
        for tick in itertools.count(1):
            due = time.monotonic() + self._wheel.tick_s
            await asyncio.sleep(self._wheel.tick_s)
            now = time.monotonic()
            self.vitals.worked(due, now)
            self._took["loop_delay_seconds"].observe(now - due)
            self.manager.alive(now)
            self._watch_shards(now)
            if tick % SLOTS == 0:
                self._tell_positions()
            for connection in self._wheel.turn():
                connection.beat(now)

    def _tell_positions(self) -> None:
        """Tell who was given nothing for an interval, for its filter left all out, how far its scan is."""
        for feed in self.hub.feeds():
            if feed.tell_positions():
                self._drive(feed, at_every_pace=True)

    def is_degraded(self, channel: str) -> bool:
        """Say whether a channel's worker is silent."""
        return self.upstream.shard_of(channel) in self._silent

    def _watch_shards(self, now: float) -> None:
        if now - self._started_at < self.config.upstream.silent_s:
            return  # nobody can have been silent for so long
        silent = set(self.upstream.silent_shards(now))
        changed = silent ^ self._silent
        if not changed:
            return
        self._silent = silent
        for shard in sorted(changed):
            if shard in silent:
                self.log.error("shard is silent", shard=shard)
            else:
                self.log.info("shard is heard", shard=shard)
        for feed in self.hub.feeds():
            shard = self.upstream.shard_of(feed.channel)
            if shard in changed:
                for session in tuple(feed.sessions):
                    self._drivers[session].degraded(shard in silent)

    def shut(self) -> None:
        """Take no more connections."""
        self.admits = False
        if not self._slots:
            self.empty.set()

    def members(self) -> list[Connection]:
        """Return the connections there are, the oldest first."""
        return list(self._slots)

    # --- what comes from the workers --------------------------------------------------------------

    def _on_frames(self, frames: list[FrameMessage]) -> None:
        now = time.monotonic()
        self.counters["frames"] += len(frames)
        for frame in frames:
            feed = self.hub.add(frame, now)
            if feed is not None:
                self._drive(feed, at_every_pace=frame.header.critical)
                self.counters["frame_bytes"] += len(frame.body)
                if frame.header.taken_us and self._same_clock:
                    # The monotonic clock is the machine's, and so are all processes of a pipeline.
                    self._took["write_seconds"].observe(time.monotonic() - frame.header.taken_us / 1e6)

    def _on_beacon(self, beacon: Beacon) -> None:
        now = time.monotonic()
        if beacon.shard in self._silent:
            self._watch_shards(now)
        for head in beacon.heads:
            feed = self.hub.feed(head.channel)
            if feed is not None and feed.learn(head.epoch, head.seq, now):
                self._drive(feed, at_every_pace=True)
        for channel, epoch in beacon.gone:
            feed = self.hub.feed(channel)
            if feed is not None and feed.epoch == epoch:
                self._end(feed)

    def _drive(self, feed: Feed, *, at_every_pace: bool) -> None:
        """Let the browsers of a channel go on; those of a lower pace only if it cannot wait for a tick."""
        self._fan_out.give(feed)
        self._fan_out.drive(
            [session for session in feed.loose if at_every_pace or session.pace.full], self._drive_one
        )

    def _drive_one(self, session: Session) -> None:
        driver = self._drivers.get(session)
        if driver is not None:
            driver.drive()

    def _late(self, session: Session, turn: Round, taken: int) -> None:
        self._drivers[session].late(turn, taken)

    def _end(self, feed: Feed) -> None:
        for session in tuple(feed.sessions):
            self._drivers[session].completed()
        feed.forget()

    # --- lists ------------------------------------------------------------------------------------

    async def summaries(self) -> tuple[list[ChannelSummary], bool]:
        """Return every channel's summary, and whether every shard has answered in time."""
        now = time.monotonic()
        if self._list is None or (self._list.done() and now - self._list_at > LIST_AGE_S):
            self._list = asyncio.get_running_loop().create_task(self._ask_summaries())
            self._list_at = now
        return await asyncio.shield(self._list)

    def stats_for(self, identity: Identity) -> StatsStream:
        """Return the statistics of what somebody may see; those who see the same share them."""
        whose = EVERYBODY if identity.admin else Identity(identity.subject, scans=identity.scans)
        stream = self._stats_of.get(whose)
        if stream is None:

            async def news(seen: int) -> News:
                found = (await self._roster_now()).news(seen)
                hidden = [each.summary.channel for each in found.changed if not may_see(whose, each.summary)]
                if not hidden:
                    return found
                visible = [each for each in found.changed if may_see(whose, each.summary)]
                return replace(found, changed=visible, gone=found.gone + hidden)

            stream = StatsStream(news, self.counters, self._stats_failed)
            self._stats_of[whose] = stream
        return stream

    def _stats_failed(self, error: BaseException) -> None:
        self.log.error("statistics failed", problem=repr(error))

    async def _roster_now(self) -> Roster:
        """Return what is known of all channels, not older than a list may be."""
        now = time.monotonic()
        if self._asked is None or (self._asked.done() and now - self._asked_at > LIST_AGE_S):
            self._asked = asyncio.get_running_loop().create_task(self._ask_changes())
            self._asked_at = now
        return await asyncio.shield(self._asked)

    async def _ask_changes(self) -> Roster:
        replies, complete = await self.upstream.channels(LIST_TIMEOUT_S, self._roster.since)
        self._roster.take(replies, time.monotonic(), complete=complete)
        return self._roster

    async def _ask_summaries(self) -> tuple[list[ChannelSummary], bool]:
        replies, complete = await self.upstream.channels(LIST_TIMEOUT_S)
        return [summary for reply in replies for summary in reply.channels], complete
