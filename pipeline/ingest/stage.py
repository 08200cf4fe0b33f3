"""The ingest process: PULL from producers, admit, PUSH to the shards; acks and nacks back by ROUTER.

Stateless but for who said hello: killed and started again it loses nothing that was not acked.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from itertools import repeat

import zmq

from pipeline import __version__
from pipeline.endpoints import stage_endpoints
from pipeline.errors import EventRejected, LayoutError, MessageMalformed, RejectReason
from pipeline.exposition import Metrics
from pipeline.ingest.admission import Gate, Rejection, Sender, admit
from pipeline.ingest.config import LIVE_KEYS, IngestConfig
from pipeline.ingest.ownership import PidOwners
from pipeline.ingest.quotas import Quotas
from pipeline.ingest.roundtrip import RoundTrips
from pipeline.links import Links
from pipeline.log import LimitedLog, Log
from pipeline.metrics import Histogram, Scrape
from pipeline.reread import read_anew
from pipeline.runtime import Signals, die_with_parent, settle, take_descriptors
from pipeline.service_manager import ServiceManager
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import (
    Binder,
    drain,
    drain_named,
    drain_router,
    drain_router_named,
    has_more,
    ingest_control,
    ingest_data,
    poll_ms,
    shard_events,
    shard_in,
    tell_bound,
)
from pipeline.vitals import Vitals
from pipeline.wire import (
    BEACON_TOPIC,
    FEEDBACK_TOPIC,
    Feedback,
    Hello,
    Nack,
    Retry,
    StatsRequest,
    Wait,
    Welcome,
    decode_beacon,
    decode_feedback,
    decode_producer_message,
    encode,
)

Producer = tuple[str, int]
"""(pid, incarnation)"""


class IngestStage:
    """Args:
    config: what it can be told.
    log: where its lines go.
    read: reads the configuration anew.
    """

    def __init__(self, config: IngestConfig, log: Log, read: Callable[[], IngestConfig]) -> None:
        self._config = config
        self._read = read
        self._index = config.ingest.index
        self._log = log
        self._rejection_log = LimitedLog(log, config.limits.max_rejections_logged_per_s)
        self._counters: Counter[str] = Counter()
        self._vitals = Vitals(os.getpid(), __version__, time.monotonic())
        self._producers: OrderedDict[Producer, bytes] = OrderedDict()
        self._quotas = Quotas(config.quotas, config.limits.max_producers)
        self._links = Links()
        self._pids = PidOwners(config.limits.max_producers)
        self._senders: dict[str, Sender] = {}
        self._roundtrips = RoundTrips()
        self._ack_s, self._wakeup_s = Histogram(), Histogram()
        place = config.pipeline
        self._endpoints = stage_endpoints(place.run_dir, place.endpoints, config.curve)
        shards = range(place.shards)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = binder = Binder(self._context, self._endpoints, log)
        try:
            self._data = binder.bind(
                zmq.PULL, ingest_data(self._index), high_water_mark=config.ingest.receive_high_water_mark
            )
            self._control = binder.bind(zmq.ROUTER, ingest_control(self._index), high_water_mark=1_000)
            self._shards = [
                binder.connect(
                    zmq.PUSH, [shard_in(shard)], high_water_mark=config.ingest.shard_high_water_mark
                )
                for shard in shards
            ]
            self._feedback = binder.connect(
                zmq.SUB, [shard_events(shard) for shard in shards], high_water_mark=100_000
            )
        except BaseException:
            self.close()
            raise
        # Otherwise what a producer does not read, or what is for one that is gone, vanishes without a word.
        self._control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._data_keyed = binder.is_keyed(ingest_data(self._index))
        self._control_keyed = binder.is_keyed(ingest_control(self._index))
        self._feedback.setsockopt(zmq.SUBSCRIBE, FEEDBACK_TOPIC)
        self._feedback.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; a second one ends at once. SIGHUP reads the configuration anew.

        Raises:
            LayoutError: a worker's beacon tells of other shards than this configuration.
        """
        signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        poller = zmq.Poller()
        for socket in (self._data, self._control, self._feedback):
            poller.register(socket, zmq.POLLIN)
        poller.register(signals.socket.fileno(), zmq.POLLIN)
        metrics = Metrics("ingest", self._index, self._config.metrics, self._figures, self._log)
        if metrics.failed:
            self._counters["metrics_failed"] += 1
        tell_bound(self._binder, self._log)
        self._log.info(
            "ready",
            run_dir=self._endpoints.run_dir,
            data=ingest_data(self._index),
            shards=len(self._shards),
            metrics=metrics.url,
        )
        manager = ServiceManager(os.environ)
        manager.ready()
        settle()
        try:
            while True:
                deadline = self._links.next_deadline()
                if (sign_due := manager.next_deadline()) is not None:
                    deadline = min(deadline, sign_due)
                ready = dict(poller.poll(poll_ms(deadline, time.monotonic())))
                now = time.monotonic()
                manager.alive(now)
                limit = self._config.ingest.drain_messages
                # Feedback first: a producer that hears of its acks has room to send.
                if self._feedback in ready:
                    self._pass_on_feedback(limit, now)
                for shard in self._links.look(now, drained=not has_more(self._feedback)):
                    self._binder.connect_anew(self._feedback, shard_events(shard))
                    self._counters["links_renewed"] += 1
                if self._control in ready:
                    self._answer_control(limit, now)
                if self._data in ready:
                    self._take_in(limit, now)
                self._wakeup_s.observe(time.monotonic() - now)
                if signals.socket.fileno() in ready and (told := set(signals.read())):
                    if told - {signal.SIGHUP}:
                        break
                    self._read_anew()
                self._vitals.worked(now, time.monotonic())
        finally:
            manager.stopping()
            signals.close()
            self._binder.take_away(ingest_data(self._index), ingest_control(self._index))
            self._log.info("stopped", **dict(sorted(self._counted().items())))

    def _figures(self) -> Scrape:
        """Return what there is to tell; another thread calls it, so what it reads it copies at once."""
        counted: dict[str, float] = self._counted()
        counted["producers_known"] = len(self._producers)
        return Scrape([({}, counted)], {"ack_seconds": self._ack_s, "wakeup_seconds": self._wakeup_s})

    def _counted(self) -> dict[str, float]:
        counted: dict[str, float] = dict(self._counters)
        for reason, times in self._binder.refused().items():
            counted[f"peers_refused{{reason={reason}}}"] = times
        return counted

    def _read_anew(self) -> None:
        config = read_anew(self._read, self._config, LIVE_KEYS, self._log)
        self._counters[f"config_reloads{{result={'refused' if config is None else 'taken'}}}"] += 1
        if config is not None:
            self._config = config
            self._quotas.follow(config.quotas, config.limits.max_producers)
            self._rejection_log.most = config.limits.max_rejections_logged_per_s
            self._pids.most = config.limits.max_producers
        self._binder.read_allowed_anew()
        self._senders.clear()

    def close(self) -> None:
        """Close the sockets."""
        self._binder.close()
        self._context.term()

    def _received(self, limit: int, now: float) -> Iterable[tuple[Sender | None, bytes]]:
        """Return what producers sent; with who it was, where they have keys."""
        if not self._data_keyed:
            return zip(repeat(None), drain(self._data, limit), strict=False)
        return (
            (sender, message)
            for name, message in drain_named(self._data, limit)
            if (sender := self._sender(name, now)) is not None
        )

    def _sender(self, name: str, now: float) -> Sender | None:
        """Return who a key's name stands for; None, and counted, when it is not allowed any more."""
        sender = self._senders.get(name)
        if sender is None:
            allowed = self._binder.allowed
            peer = allowed.peers.get(name) if allowed is not None else None
            if peer is None or not peer.may_produce:
                self._counters["dropped{reason=revoked}"] += 1
                self._rejection_log.warning("key revoked", now, peer=name)
                return None
            sender = self._senders[name] = Sender(name, self._pids, peer.names_owners)
        return sender

    def _take_in(self, limit: int, now: float) -> None:
        rejections: list[Rejection] = []
        held: dict[tuple[str, int, str], tuple[Retry, Wait]] = {}
        gate = Gate(self._quotas, now) if self._quotas.any else None
        for sender, message in self._received(limit, now):
            admission = admit(message, sender, gate)
            rejections.extend(admission.rejections)
            if admission.held is not None:
                retry, _ = admission.held
                self._counters[f"held_back{{reason={retry.reason}}}"] += 1
                held.setdefault((retry.pid, retry.inc, retry.channel), admission.held)
            elif admission.left_out:
                self._counters["signs_left_out"] += 1
            for channel, envelope, count in admission.routed:
                shard = shard_of(channel, len(self._shards))
                try:
                    self._shards[shard].send(envelope, zmq.NOBLOCK)
                except zmq.Again:
                    self._counters["dropped{reason=shard_full}"] += count
                    self._rejection_log.warning("shard does not keep up", now, shard=shard, dropped=count)
                else:
                    self._counters["events"] += count
                    self._counters["bytes"] += len(envelope)
                    if admission.last is not None:
                        self._roundtrips.sent(shard, admission.last, now)
        for rejection in rejections:
            self._counters[f"rejected{{reason={rejection.reason}}}"] += rejection.count
            fields = {"producer": rejection.nack.pid, "pseq": rejection.nack.pseq} if rejection.nack else {}
            self._rejection_log.warning(
                "rejected", now, reason=rejection.reason, problem=rejection.message, **fields
            )
        nacks = [rejection.nack for rejection in rejections if rejection.nack]
        if nacks or held:
            retries, waits = zip(*held.values(), strict=True) if held else ((), ())
            self._tell(Feedback(retries=[*retries], nacks=nacks, waits=[*waits]))

    def _pass_on_feedback(self, limit: int, now: float) -> None:
        for message in drain(self._feedback, limit):
            try:
                if message.startswith(BEACON_TOPIC):
                    beacon = decode_beacon(message)
                    if (beacon.shards, beacon.hash) != (len(self._shards), HASH_NAME):
                        raise LayoutError(
                            f"shard {beacon.shard} is one of {beacon.shards}, spread by {beacon.hash!r}; "
                            f"this ingest is set to {len(self._shards)} shards, spread by {HASH_NAME!r}"
                        )
                    self._links.heard(beacon.shard, now)
                else:
                    feedback = decode_feedback(message)
                    for took_s in self._roundtrips.acked(feedback.acks, now):
                        self._ack_s.observe(took_s)
                    self._tell(feedback)
            except MessageMalformed as error:
                self._counters["malformed{socket=feedback}"] += 1
                self._rejection_log.warning("malformed feedback", now, problem=error)

    def _tell(self, feedback: Feedback) -> None:
        """Send each producer that is known here its part of the feedback, in one message."""
        parts: dict[Producer, Feedback] = {}
        for kind in ("acks", "retries", "nacks", "reached", "waits"):
            for item in getattr(feedback, kind):
                producer = (item.pid, item.inc)
                if producer in self._producers:
                    getattr(parts.setdefault(producer, Feedback([], [], [], [], [])), kind).append(item)
        for producer, part in parts.items():
            if not self._send_control(self._producers[producer], encode(part)):
                del self._producers[producer]  # it says hello if it is there after all
            self._counters["feedback_messages"] += 1

    def _answer_control(self, limit: int, now: float) -> None:
        for peer, message, name in self._control_received(limit):
            try:
                request = decode_producer_message(message)
            except MessageMalformed as error:
                self._counters["malformed{socket=control}"] += 1
                self._rejection_log.warning("malformed control message", now, problem=error)
                continue
            if isinstance(request, Hello):
                producer = (request.pid, request.inc)
                if name and not self._may_use(producer, name, peer, now):
                    continue
                if producer not in self._producers:
                    self._counters["producers"] += 1
                self._producers[producer] = peer
                self._producers.move_to_end(producer)
                if len(self._producers) > self._config.limits.max_producers:
                    self._producers.popitem(last=False)
                self._send_control(peer, encode(Welcome(self._index)))
            elif isinstance(request, StatsRequest):
                reply = self._vitals.reply(request.id, f"ingest-{self._index}", self._counted(), now)
                self._send_control(peer, encode(reply))

    def _control_received(self, limit: int) -> Iterable[tuple[bytes, bytes, str]]:
        if self._control_keyed:
            return drain_router_named(self._control, limit)
        return ((peer, message, "") for peer, message in drain_router(self._control, limit))

    def _may_use(self, producer: Producer, name: str, peer: bytes, now: float) -> bool:
        """Say whether a key may go by a producer id; one that may not is told, and hears nothing of it."""
        pid, inc = producer
        sender = self._sender(name, now)
        if sender is None:
            return False
        try:
            self._pids.check(pid, sender.by)
        except EventRejected as error:
            self._counters[f"rejected{{reason={RejectReason.PID_TAKEN}}}"] += 1
            self._rejection_log.warning("rejected", now, reason=error.reason, problem=error.message)
            self._send_control(
                peer, encode(Feedback(nacks=[Nack(pid, inc, "", 0, error.reason, error.message)]))
            )
            return False
        return True

    def _send_control(self, peer: bytes, message: bytes) -> bool:
        """Send to a peer; return whether it is connected. What it does not get it will ask for again."""
        try:
            self._control.send_multipart((peer, message), zmq.NOBLOCK)
        except zmq.Again:
            self._counters["dropped{reason=producer_full}"] += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._counters["dropped{reason=producer_gone}"] += 1
            return False
        return True


def run(config: IngestConfig, log: Log, read: Callable[[], IngestConfig]) -> None:
    """Run one ingest process until it is told to stop; `read` reads its configuration anew."""
    die_with_parent()
    take_descriptors()
    stage = IngestStage(config, log, read)
    try:
        stage.run()
    finally:
        stage.close()
