"""What a stage's figures are called for Prometheus, and histograms. Pure.

Between the counters a stage keeps anyway (`name` or `name{label=value}`) and `exposition`, which serves
them. Knows no stage's code and no library.

============================ ================================================================================
a counter of a stage         is the metric
============================ ================================================================================
`events` of ingest           `pipeline_ingest_events_total`
`rejected{reason=json}`      `pipeline_ingest_rejected_total{reason="json"}`
one in `GAUGES`              the same without `_total`: how things are now
one in `RENAMED`             by that name: Prometheus wants the unit last
one in no table              by the same rule; its text says only what it is called
============================ ================================================================================

No label names a scan, an address or a user: there is no bound for how many there are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of every histogram, seconds; one more holds what is above."""

_LABEL = re.compile(r"([a-z_]+)=([^,}]+)")


class Histogram:
    """How often something took how long.

    Attributes:
        counts: observations in each bucket of `LATENCY_S`, and above them all.
        sum_s: seconds of all together.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; a negative duration counts as none at all."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(LATENCY_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), as Prometheus counts: each holds those before."""
        found, total = [], 0
        for bound, count in zip((*map(str, LATENCY_S), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a process tells when it is scraped.

    Attributes:
        counted: (labels of all of them, counter -> value) of each part of the process.
        took: name -> histogram.
    """

    counted: list[tuple[dict[str, str], dict[str, float]]]
    took: dict[str, Histogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: without `_total`.
        kind: `counter` or `gauge`.
        text: what it tells, on one line.
        samples: (labels, value).
    """

    name: str
    kind: str
    text: str
    samples: list[tuple[dict[str, str], float]]


def families(stage: str, counted: Iterable[tuple[dict[str, str], dict[str, float]]]) -> list[Family]:
    """Return the metrics of a stage's counters, by name.

    Args:
        stage: `ingest`, `throttle-batch`, `edge` or `notify`.
        counted: as in `Scrape`.
    """
    found: dict[str, Family] = {}
    for shared, counters in counted:
        for counter, value in counters.items():
            base, _, rest = counter.partition("{")
            family = found.get(base)
            if family is None:
                text = TEXTS[stage].get(base, f"The figure `{base}` of {stage}.")
                family = found[base] = Family(metric_name(stage, base), _kind(stage, base), text, [])
            family.samples.append(({**shared, **dict(_LABEL.findall(rest))}, float(value)))
    return sorted(found.values(), key=lambda family: family.name)


def metric_name(stage: str, counter: str) -> str:
    """Return what a stage's counter, or histogram, is called; a counter's name ends in `_total` besides."""
    return f"{prefix(stage)}_{RENAMED.get(counter, counter)}"


def prefix(stage: str) -> str:
    """Return what every metric of a stage begins with."""
    return f"pipeline_{stage.replace('-', '_')}"


def _kind(stage: str, base: str) -> str:
    return "gauge" if base in GAUGES[stage] else "counter"


RENAMED = {"bytes_sent": "sent_bytes", "draining": "draining", "retries": "retries_sent"}

GAUGES = {
    "ingest": {"producers_known"},
    "throttle-batch": {
        "channels",
        "commit_timestamp_seconds",
        "journal_bytes",
        "journal_lives",
        "pending_bytes",
        "pending_events",
        "writable",
    },
    "edge": {
        "addresses",
        "users",
        "channels_watched",
        "connections_open",
        "draining",
        "readers",
        "readers_behind",
        "ring_bytes",
        "silent_shards",
    },
    "notify": {"hooks_failing", "hooks_gone", "scans", "silent_shards", "waiting"},
}
"""Stage -> its figures that tell how things are now."""

TEXTS = {
    "ingest": {
        "events": "Events handed to a shard.",
        "bytes": "Bytes of the messages they came in.",
        "rejected": "Events, or whole messages, not taken, by reason.",
        "held_back": "Messages beyond a producer's quota, to be sent again, by reason.",
        "signs_left_out": "Signs of life that were not passed on.",
        "dropped": "Events a shard had no room for (shard_full), answers that producers did not get, and "
        "messages of revoked keys.",
        "producers": "Numbered producers that said hello for the first time.",
        "producers_known": "Numbered producers that acks are passed on to now.",
        "feedback_messages": "Messages with acks, retries or nacks sent to producers.",
        "links_renewed": "Connections to a worker by which nothing came any more, made anew.",
        "malformed": "Messages that make no sense, by socket.",
        "metrics_failed": "Starts without metrics: their port was taken.",
        "peers_refused": "Connections refused where keys are asked for, by reason.",
        "config_reloads": "Times the configuration was read anew, by result.",
    },
    "throttle-batch": {
        "events": "Events taken and numbered.",
        "frames": "Frames published.",
        "frame_bytes": "Bytes of frames published, with header and topic.",
        "merged": "State events left out because a later one of the same key was sent.",
        "pages": "Pages of history given.",
        "states": "States, and pages of hosts, given.",
        "signs": "Signs of life of producers, by sign.",
        "added": "Events the watchdog added, by type.",
        "acks": "Acks published: a producer and channel, and how far it is durable.",
        "retries": "Requests to send again, published.",
        "duplicates": "Events that came again and were not taken twice.",
        "jumped": "Numbers that are acked and not in the journal.",
        "not_taken": "Messages sent back, by reason.",
        "rejected": "Events not taken, by reason.",
        "dropped": "Foreign events without room, by reason.",
        "producers_forgotten": "Pairs of producer and channel beyond max_producers.",
        "past_channels_forgotten": "Cleaned-up channels beyond max_past_channels.",
        "channels": "Channels in memory.",
        "channels_cleaned_up": "Lives whose memory was freed.",
        "pending_bytes": "Bytes of events that are in no frame yet.",
        "pending_events": "Events that are in no frame yet.",
        "commit_timestamp_seconds": "When it last committed, Unix time; 0 before the first time.",
        "writable": "1 while the journal can be written, else 0.",
        "journal_bytes": "Bytes the journal keeps.",
        "journal_lives": "Lives of channels the journal keeps on disk.",
        "journal_trimmed_events": "Events let go of beyond the bounds.",
        "journal_failed_commits": "Commits that failed; each is tried again.",
        "journal_damaged_events": "Events found damaged.",
        "history_failed": "Pages that could not be read.",
        "lives_deleted": "Lives deleted because somebody asked for it.",
        "malformed": "Messages that make no sense, by socket.",
        "metrics_failed": "Starts without metrics: their port was taken.",
        "peers_refused": "Connections refused where keys are asked for, by reason.",
        "config_reloads": "Times the configuration was read anew, by result.",
    },
    "edge": {
        "connections": "Connections taken, by wire.",
        "connections_open": "Connections there are.",
        "readers": "Readers of one channel each, by wire and by frames a second they are given (pace).",
        "readers_behind": "Readers that are not in step: what is due to them waits for their socket.",
        "channels_watched": "Channels that somebody watches.",
        "ring_bytes": "Bytes of recent frames held for readers.",
        "addresses": "Addresses remembered for their limits.",
        "users": "Users remembered for their limits.",
        "silent_shards": "Shards without a beacon for silent_s.",
        "draining": "1 while the edge lets its browsers go, else 0.",
        "refused": "Requests refused, by reason.",
        "cut_off": "Connections whose first request did not come, by reason.",
        "accept_failed": "Connections the kernel had no room for.",
        "closed": "Connections ended, by close code.",
        "messages_sent": "Messages of connections that have ended.",
        "bytes_sent": "Bytes sent on connections that have ended.",
        "frames": "Frames taken from workers.",
        "frame_bytes": "Bytes of the events of those frames that somebody watches.",
        "inbound_messages": "Messages from browsers.",
        "paces_lowered": "Times a browser's pace fell a step.",
        "events_skipped": "Events browsers were not given, and told so, by reason.",
        "actions_refused": "What browsers asked in messages and was not done, by code.",
        "actions_unanswered": "Messages not looked at.",
        "subscriptions": "Scans subscribed to on /ws/scans.",
        "unsubscribed": "Subscriptions ended before their connection, by code.",
        "stats_changes": "Changes of the statistics told.",
        "posts": "Requests that posted events, by status.",
        "events_posted": "Events that were acked to those who posted them.",
        "posts_resent": "Messages sent to an ingest again for want of an ack.",
        "pages": "Pages of history asked for.",
        "key_sets": "Times the key set of the identity provider was asked for, by result.",
        "states": "States of scans, and pages of hosts, asked for.",
        "exports": "Exports of scans begun.",
        "questions_repeated": "Questions a worker did not answer in time.",
        "questions_not_sent": "Questions that could not be queued.",
        "links_renewed": "Connections to a worker by which nothing came any more, made anew.",
        "malformed": "Messages that make no sense, by socket.",
        "dropped": "Answers nobody reads, and questions another edge does not take, by reason.",
        "metrics_failed": "Starts without metrics: their port was taken.",
        "peers_refused": "Connections refused where keys are asked for, by reason.",
        "config_reloads": "Times the configuration was read anew, by result.",
    },
    "notify": {
        "frames": "Frames of scans taken from workers.",
        "pages": "Pages of history asked for and given.",
        "events": "Events looked at one by one.",
        "events_missed": "Events that were no longer held, or damaged, when they were to be looked at.",
        "messages": "Messages made, by rule.",
        "attempts": "Requests sent to hooks.",
        "delivered": "Messages that were taken.",
        "failed": "Requests that were not answered with 2xx, by reason.",
        "dropped": "Messages that will not be delivered, by reason.",
        "waiting": "Messages that wait to be delivered.",
        "hooks_failing": "Hooks whose receiver is unwell.",
        "hooks_gone": "Hooks that want nothing more.",
        "scans": "Scans whose place is kept in mind.",
        "silent_shards": "Shards that have not been heard since the process began.",
        "ledger_failures": "Times the ledger could not be written.",
        "peers_refused": "Connections refused where keys are asked for, by reason.",
        "config_reloads": "Times the configuration was read anew, by result.",
        "questions_unread": "Answers about its statistics that nobody reads.",
        "links_renewed": "Connections to a worker by which nothing came any more, made anew.",
        "malformed": "Messages that make no sense, by socket.",
        "metrics_failed": "Starts without metrics: their port was taken.",
    },
}
"""Stage -> counter or gauge -> what it tells."""

HISTOGRAMS = {
    "ingest": {
        "ack_seconds": "From handing an event to its shard until its ack came back; one at a time a shard is "
        "followed.",
        "wakeup_seconds": "How long a wake-up of the loop worked.",
    },
    "throttle-batch": {
        "commit_seconds": "One transaction of a journal.",
        "publish_seconds": "From taking an event until its frame was published; the oldest of each frame.",
        "wakeup_seconds": "How long a wake-up of the loop worked.",
    },
    "edge": {
        "write_seconds": "From a worker's taking an event until its frame was given to the first sockets; "
        "the oldest of each frame.",
        "loop_delay_seconds": "How much later than due the loop looked after its heartbeats.",
    },
    "notify": {
        "attempt_seconds": "From sending a request to a hook until it was answered, or given up.",
        "wakeup_seconds": "How long a wake-up of the loop worked.",
    },
}
"""Stage -> histogram -> what it tells."""
