"""What was posted and is not answered yet: each a producer that sends one message and goes. Pure.

Sits between the handler and `uplink`, which has the sockets. A post is one envelope with `bye` in it, sent
again until the worker acks it.

================================ =====================================================================
a post                           goes by the producer id
================================ =====================================================================
with a key                       made of channel and key, numbers from 1: whichever edge sends it, and how
                                 often, its events are taken once. Its digest has another body refused
without one                      of this edge, with the numbers after its last ones there, once that is
                                 idle: so few ids do for many posts
================================ =====================================================================

================================ =====================================================================
when                             what happens
================================ =====================================================================
the ack covers its last number   answered, with what was nacked and the position reached
a nack `key_reused`              answered, if it names the post's digest
an ack beside another digest     nothing: it is a late one, for what the key stands for
a retry                          sent again, at once or (no room) after `FULL_PAUSE_S`
no ack for the timeout           sent again; the timeout doubles, to `MAX_RESEND_S`
no ingest took it for            answered: `unsent`
`INGEST_WAIT_S`
no answer for `timeout_s`        answered: `held_up` if the worker had no room, else `unanswered`
the same key and body again      shares the answer of the first
================================ =====================================================================
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from pipeline.errors import RejectReason
from pipeline.wire import EnvelopeHeader, Feedback, encode_envelope

RESEND_S = 0.3
MAX_RESEND_S = 3.0
FULL_PAUSE_S = 0.05
INGEST_WAIT_S = 2.0
"""As long as an ingest takes to be started again."""
MAX_IDLE = 1_024
"""Ids of our own kept for further posts; beyond it those of the channel idle longest are forgotten."""

Kind = Literal["taken", "reused", "unsent", "held_up", "unanswered"]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a post.

    Attributes:
        kind: a row of the table each.
        refused: (index of the event, reason, message) of those that the worker did not take.
        position: (epoch, seq) of the last one taken; None when none was.
        held_up: why the worker has no room, as its last retry said.
    """

    kind: Kind
    refused: tuple[tuple[int, str, str], ...] = ()
    position: tuple[int, int] | None = None
    held_up: str = ""


@dataclass(slots=True, eq=False)
class Post:
    """One post.

    Attributes:
        message: what is sent.
        told: what became of it; None while that is open.
    """

    channel: str
    pid: str
    first: int
    count: int
    digest: str
    message: bytes
    send_at: float
    lost_at: float
    over_at: float
    told: Told | None = None
    sent: bool = False
    resend_s: float = RESEND_S
    held_up: str = ""
    position: tuple[int, int] | None = None
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self.first + self.count - 1


class Posts:
    """Args:
    name: of this edge, as no other process is or was ever called.
    timeout_s: seconds until a post that is not acked is answered.

    Attributes:
        timeout_s: the same; another may follow.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self.timeout_s = timeout_s
        self._open: dict[tuple[str, str], Post] = {}
        self._idle: OrderedDict[str, list[tuple[str, int]]] = OrderedDict()
        self._idle_count = 0
        self._given = 0

    def __len__(self) -> int:
        """Return how many are not answered."""
        return len(self._open)

    def begin(self, channel: str, events: list[bytes], key: str, now: float) -> Post:
        """Take in a post; it is due to be sent.

        Args:
            channel: `kind/id`.
            events: as many as an envelope may carry, each on one line.
            key: what a repetition is told by; empty for none.
            now: monotonic seconds.

        Returns:
            The post; the open one where this is its repetition. It is answered already if its key stands for
            another one.
        """
        if key:
            pid, first = "key-" + _digest(channel.encode(), key.encode()), 1
            digest = _digest(*events)
        else:
            pid, first = self._take_idle(channel)
            digest = ""
        known = self._open.get((pid, channel))
        if known is not None and known.digest == digest:
            return known
        header = EnvelopeHeader(channel, pid, 0, first, first, sign="bye", digest=digest)
        post = Post(
            channel,
            pid,
            first,
            len(events),
            digest,
            encode_envelope(header, events),
            send_at=now,
            lost_at=now + INGEST_WAIT_S,
            over_at=now + self.timeout_s,
        )
        if known is not None:
            post.told = Told("reused")
        else:
            self._open[pid, channel] = post
        return post

    def due(self, now: float) -> list[Post]:
        """Return the posts that are to be sent; call `sent` for each that is on its way."""
        return [post for post in self._open.values() if post.send_at <= now]

    def sent(self, post: Post, now: float) -> None:
        """Take notice that a post is on its way."""
        post.sent = True
        post.send_at = now + post.resend_s
        post.resend_s = min(2 * post.resend_s, MAX_RESEND_S)

    def hear(self, feedback: Feedback, now: float) -> list[Post]:
        """Take in what a worker says.

        Returns:
            The posts that are answered by it.
        """
        done = []
        mine: set[tuple[str, str]] = set()
        for nack in feedback.nacks:
            post = self._open.get((nack.pid, nack.channel))
            if post is None:
                continue
            if nack.reason == RejectReason.KEY_REUSED:
                if post.digest in nack.message:
                    done.append(self._close(post, "reused"))
            elif post.first <= nack.pseq <= post.last:
                post.refused[nack.pseq - post.first] = (nack.reason, nack.message)
        for place in feedback.reached:
            post = self._open.get((place.pid, place.channel))
            if post is not None and place.digest == post.digest:
                post.position = (place.epoch, place.seq) if place.epoch else None
                mine.add((place.pid, place.channel))
        for retry in feedback.retries:
            post = self._open.get((retry.pid, retry.channel))
            if post is not None:
                post.held_up = "" if retry.reason == "gap" else retry.reason
                post.send_at = now + FULL_PAUSE_S if post.held_up else now
        for ack in feedback.acks:
            post = self._open.get((ack.pid, ack.channel))
            theirs = post is not None and post.digest and (ack.pid, ack.channel) not in mine
            if post is not None and not theirs and ack.committed >= post.last:
                done.append(self._close(post, "taken"))
        return done

    def handle_timeout(self, now: float) -> list[Post]:
        """Return the posts that are answered because nothing was heard of them for long enough."""
        lost = [post for post in self._open.values() if not post.sent and post.lost_at <= now]
        over = [post for post in self._open.values() if post.sent and post.over_at <= now]
        return [self._close(post, "unsent") for post in lost] + [
            self._close(post, "held_up" if post.held_up else "unanswered") for post in over
        ]

    def _close(self, post: Post, kind: Kind) -> Post:
        del self._open[post.pid, post.channel]
        refused = tuple((index, *why) for index, why in sorted(post.refused.items()))
        position = post.position if len(refused) < post.count else None
        post.told = Told(kind, refused, position, post.held_up)
        # What is not certain to have been taken must not be followed by other numbers.
        if kind == "taken" and not post.digest and not refused:
            self._give_back(post)
        return post

    def _take_idle(self, channel: str) -> tuple[str, int]:
        """Return a producer id of our own that nobody uses in a channel, and its next number there."""
        idle = self._idle.get(channel)
        if idle is None:
            self._given += 1
            return f"{self._name}-{self._given}", 1
        line = idle.pop()
        self._idle_count -= 1
        if not idle:
            del self._idle[channel]
        return line

    def _give_back(self, post: Post) -> None:
        self._idle.setdefault(post.channel, []).append((post.pid, post.last + 1))
        self._idle.move_to_end(post.channel)
        self._idle_count += 1
        while self._idle_count > MAX_IDLE:
            _, forgotten = self._idle.popitem(last=False)
            self._idle_count -= len(forgotten)


def _digest(*parts: bytes) -> str:
    return blake2b(b"\n".join(parts), digest_size=16).hexdigest()
