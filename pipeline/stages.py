"""What an operator sees of a pipeline: every stage, how it is, how much passes, and what is wrong. Pure.

`roll_call` asks the stages; this makes one document of what they told. The edge gives it as `/api/pipeline`,
and a terminal can show the same.

=================== ================================================================================
problem             when
=================== ================================================================================
`silent`            it did not answer in time, or nobody is there
`unwritable`        a shard cannot write its journal: it takes nothing from producers
`slow`              it kept others waiting for `SLOW_S` or more
`readers_behind`    an edge has readers that are given less than comes, for they do not keep up
`hooks_failing`     a hook's receiver takes nothing, or wants nothing more
`draining`          an edge is being stopped
`other_version`     it runs another version than the rest
=================== ================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.wire import ReadersSummary, StatsReply

SLOW_S = 1.0
FULL_PACE = 10
"""Frames a second that a reader is given who keeps up."""

MAX_AGE_S = 30.0
"""An answer that is older says nothing of how much passes now."""

STAGES = ("ingest", "shard", "edge", "notify")

_RATES = {
    "ingest": {"events_per_s": "events", "bytes_per_s": "bytes"},
    "shard": {"events_per_s": "events", "frames_per_s": "frames", "bytes_per_s": "frame_bytes"},
    "edge": {"frames_per_s": "frames", "messages_per_s": "messages_sent", "bytes_per_s": "bytes_sent"},
    "notify": {"frames_per_s": "frames", "messages_per_s": "delivered"},
}
_LABEL = re.compile(r"(\w+)\{\w+=(.*)\}")


class Told(NamedTuple):
    """What one stage told.

    Attributes:
        name: of the stage, such as `shard-2`; there is one `notify` at most.
        stats: its answer; None when there was none.
        readers: an edge's connections, added up; None when it is no edge, or did not tell.
        connections: how many an edge has.
    """

    name: str
    stats: StatsReply | None = None
    readers: ReadersSummary | None = None
    connections: int = 0


class Stages:
    """Keeps what every stage told last: rates are made of two answers, and who is silent is still known."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[StatsReply, Mapping[str, float], float]] = {}

    def document(self, told: Iterable[Told], now: float, now_ms: int) -> dict[str, object]:
        """Return the document, and keep in mind what it was made of.

        Args:
            told: of every stage there is, each once.
            now: monotonic seconds.
            now_ms: the wall clock, epoch milliseconds.

        Returns:
            `at`, and `stages`: ingests, shards, edges, each by index, and notify, as docs/PROTOCOL.md tells
            them. One that is silent has the figures it told last. A rate is null until a stage was asked
            twice.
        """
        found = sorted(told, key=lambda one: place(one.name))
        versions = Counter(one.stats.version for one in found if one.stats is not None)
        usual = versions.most_common(1)[0][0] if versions else ""
        stages = [self._entry(one, usual, now, now_ms) for one in found]
        names = {one.name for one in found}
        self._last = {name: last for name, last in self._last.items() if name in names}
        return {"at": _iso(now_ms), "stages": stages}

    def _entry(self, told: Told, usual: str, now: float, now_ms: int) -> dict[str, object]:
        stage, index = _stage_and_index(told.name)
        before = self._last.get(told.name)
        if told.stats is None:
            stats, counters, heard_at = before or (StatsReply(0, told.name, {}), {}, None)
            rates: dict[str, float | None] = dict.fromkeys(_RATES[stage])
        else:
            stats, counters, heard_at = told.stats, _with_readers(told), now
            rates = {
                name: _rate(counter, stats, counters, before, now) for name, counter in _RATES[stage].items()
            }
            self._last[told.name] = (stats, counters, now)
        alive = told.stats is not None
        entry: dict[str, object] = {
            "name": told.name,
            "stage": stage,
            "index": index,
            "alive": alive,
            "heard_s": None if heard_at is None else round(now - heard_at, 3),
            "pid": stats.pid or None,
            "version": stats.version or None,
            "uptime_s": stats.uptime_s if alive else None,
            "delay_s": stats.delay_s if alive else None,
            "rates": rates,
            "rejected": labelled(counters, "rejected"),
            "dropped": labelled(counters, "dropped"),
            "malformed": labelled(counters, "malformed"),
        }
        if stage == "shard":
            entry |= _shard(counters, now_ms)
        elif stage == "edge":
            entry["readers"] = _readers(told, counters)
        elif stage == "notify":
            entry["messages"] = _messages(counters)
        entry["problems"] = _problems(told, counters, usual)
        entry["counters"] = dict(sorted(counters.items()))
        return entry


def place(name: str) -> tuple[int, int]:
    """Return the place of a stage among all: in the order in which an event passes them.

    Args:
        name: one of `STAGES` and its index, such as `shard-2`, or `notify`.
    """
    stage, index = _stage_and_index(name)
    return STAGES.index(stage), index


def _stage_and_index(name: str) -> tuple[str, int]:
    stage, _, index = name.partition("-")
    return stage, int(index or 0)


def labelled(counters: Mapping[str, float], name: str) -> dict[str, int]:
    """Return label -> value of the counters `NAME{LABEL=value}`, the greatest first."""
    found = {}
    for counter, value in counters.items():
        match = _LABEL.fullmatch(counter)
        if match and match[1] == name and value:
            found[match[2]] = int(value)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _with_readers(told: Told) -> dict[str, float]:
    """Return a stage's counters; those of an edge with what it has sent to readers that are connected."""
    assert told.stats is not None
    counters, readers = told.stats.counters, told.readers
    if readers is None:
        return counters
    return {
        **counters,
        "messages_sent": counters.get("messages_sent", 0) + readers.messages,
        "bytes_sent": counters.get("bytes_sent", 0) + readers.bytes,
    }


def _rate(
    counter: str,
    stats: StatsReply,
    counters: Mapping[str, float],
    before: tuple[StatsReply, Mapping[str, float], float] | None,
    now: float,
) -> float | None:
    """Return how much a counter grew a second since it was asked for; None when that says nothing."""
    if before is None:
        return None
    known, earlier, at = before
    if known.pid != stats.pid or not 0 < now - at <= MAX_AGE_S:
        return None  # another process counts from its start
    return round(max(0.0, counters.get(counter, 0) - earlier.get(counter, 0)) / (now - at), 1)


def _shard(counters: Mapping[str, float], now_ms: int) -> dict[str, object]:
    committed_ms = int(counters.get("committed_ms", 0))
    return {
        "channels": int(counters.get("channels", 0)),
        "queue": {
            "events": int(counters.get("pending_events", 0)),
            "bytes": int(counters.get("pending_bytes", 0)),
        },
        "journal": {
            "writable": bool(counters["writable"]) if "writable" in counters else None,
            "bytes": int(counters.get("journal_bytes", 0)),
            "committed_at": _iso(committed_ms) if committed_ms else None,
            "committed_s": max(0.0, (now_ms - committed_ms) / 1000) if committed_ms else None,
            "failed_commits": int(counters.get("journal_failed_commits", 0)),
            "damaged_events": int(counters.get("journal_damaged_events", 0)),
        },
    }


def _readers(told: Told, counters: Mapping[str, float]) -> dict[str, object]:
    readers = told.readers or ReadersSummary()
    return {
        "open": told.connections,
        "wires": dict(sorted(readers.wires.items())),
        "paces": {str(pace): number for pace, number in sorted(readers.paces.items(), reverse=True)},
        "behind": _behind(readers),
        "lag": readers.lag_events,
        "skipped": readers.skipped,
        "draining": bool(counters.get("draining", 0)),
    }


def _messages(counters: Mapping[str, float]) -> dict[str, int]:
    return {
        name: int(counters.get(name, 0)) for name in ("waiting", "delivered", "hooks_failing", "hooks_gone")
    }


def _behind(readers: ReadersSummary) -> int:
    return sum(number for pace, number in readers.paces.items() if pace < FULL_PACE)


def _problems(told: Told, counters: Mapping[str, float], usual: str) -> list[str]:
    if told.stats is None:
        return ["silent"]
    there = {
        "unwritable": counters.get("writable") == 0,
        "slow": told.stats.delay_s >= SLOW_S,
        "readers_behind": told.readers is not None and _behind(told.readers) > 0,
        "hooks_failing": bool(counters.get("hooks_failing", 0) or counters.get("hooks_gone", 0)),
        "draining": bool(counters.get("draining", 0)),
        "other_version": told.stats.version != usual,
    }
    return [problem for problem, is_so in there.items() if is_so]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
