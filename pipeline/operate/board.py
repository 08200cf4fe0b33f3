"""What `top` shows: one document of the stages, their processes, the scans and the connections. Pure.

`gathering` brings the snapshots; `picture` makes text of the document, `--json` prints it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.stages import Stages, Told
from pipeline.wire import ChannelSummary, ConnectionSummary

if TYPE_CHECKING:
    from pipeline.operate.processes import ProcessFigures

MAX_SCANS = 1_000
MAX_CONNECTIONS = 1_000
"""How many of each a document has at most; how many there are it says in any case."""

MIN_SPAN_S = 0.05
"""CPU is not made of two snapshots that are closer: the kernel counts in hundredths of a second."""

_QUIET = ("completed", "failed")


class Snapshot(NamedTuple):
    """What was told at one moment.

    Attributes:
        told: by every stage.
        scans: by every shard that answers.
        connections: by every edge that answers, `MAX_CONNECTIONS` each at most.
        total_connections: how many they have.
        processes: pid -> what the kernel says; only of local processes.
        now: monotonic seconds.
        now_ms: the wall clock, epoch milliseconds.
    """

    told: Sequence[Told]
    scans: Sequence[ChannelSummary]
    connections: Sequence[ConnectionSummary]
    total_connections: int
    processes: Mapping[int, ProcessFigures]
    now: float
    now_ms: int


class Board:
    """Keeps the snapshot before, because rates and CPU are made of two.

    Args:
        run_dir: shown as where the pipeline is.
    """

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir
        self._stages = Stages()
        self._cpu: dict[int, tuple[float, float]] = {}

    def document(self, snapshot: Snapshot) -> dict[str, object]:
        """Return what there is to show.

        Returns:
            `at` and `stages` as `/api/pipeline` has them, each stage with its `process`; `scans`, the busiest
            first; `connections`, those most behind first; and how many there are of these.
        """
        document = self._stages.document(snapshot.told, snapshot.now, snapshot.now_ms)
        processes = {
            pid: self._process(pid, figures, snapshot.now) for pid, figures in snapshot.processes.items()
        }
        self._cpu = {pid: (figures.cpu_s, snapshot.now) for pid, figures in snapshot.processes.items()}
        stages = document["stages"]
        assert isinstance(stages, list)
        for stage in stages:
            stage["process"] = processes.get(stage["pid"] or 0)
        scans = sorted(snapshot.scans, key=_busiest)
        connections = sorted(snapshot.connections, key=lambda one: (-one.lag_events, -one.messages, one.id))
        return {
            "run_dir": self._run_dir,
            **document,
            "scans_total": len(scans),
            "scans": [_scan(scan) for scan in scans[:MAX_SCANS]],
            "connections_total": snapshot.total_connections,
            "connections": [_connection(one) for one in connections[:MAX_CONNECTIONS]],
        }

    def _process(self, pid: int, figures: ProcessFigures, now: float) -> dict[str, object]:
        before = self._cpu.get(pid)
        cpu: float | None = None
        if before is not None and now - before[1] >= MIN_SPAN_S:
            cpu = round(max(0.0, figures.cpu_s - before[0]) / (now - before[1]) * 100, 1)
        return {"pid": pid, "state": figures.state, "rss_bytes": figures.rss_bytes, "cpu_percent": cpu}


def _busiest(scan: ChannelSummary) -> tuple[object, ...]:
    return (scan.status in _QUIET, -(scan.events_per_s or 0.0), -scan.events, scan.channel)


def _scan(scan: ChannelSummary) -> dict[str, object]:
    return {
        "channel": scan.channel,
        "status": scan.status,
        "phase": scan.phase,
        "progress": scan.progress,
        "events_per_s": scan.events_per_s,
        "events": scan.events,
        "frames": scan.frames,
        "unpublished": max(0, scan.events - scan.seq),
        "elapsed_s": scan.elapsed_s,
    }


def _connection(one: ConnectionSummary) -> dict[str, object]:
    return {
        "id": one.id,
        "edge": one.edge,
        "address": one.address,
        "wire": one.wire,
        "channels": list(one.channels),
        "duration_s": one.duration_s,
        "messages": one.messages,
        "bytes": one.bytes,
        "lag_events": one.lag_events,
        "frames_per_s": one.frames_per_s,
        "skipped": one.skipped,
    }
