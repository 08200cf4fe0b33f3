"""What REST tells of all scans: lists and statistics, from the workers' summaries. Pure.

`scan_statistics` has HeroForge's shape (`src/web/websocket/aggregator.rs`), its fields first and exactly
as it names them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.wire import ChannelSummary, split_channel


def scan_statistics(summaries: list[ChannelSummary], *, complete: bool) -> dict[str, object]:
    """Return the answer of `GET /api/scans/stats`.

    Args:
        summaries: of every channel; reports are left out.
        complete: whether every shard has answered.

    Returns:
        HeroForge's fields: `message_count` counts published frames, times are seconds. Ours beside them:
        events accepted and merged, and `complete`.
    """
    scans = _scans(summaries)
    ended = sum(scan.status != "running" for scan in scans)
    elapsed = [scan.elapsed_s for scan in scans]
    return {
        "total_scans": len(scans),
        "running_scans": len(scans) - ended,
        "completed_scans": ended,
        "total_messages": sum(scan.frames for scan in scans),
        "average_elapsed_time": sum(elapsed) / len(elapsed) if elapsed else 0.0,
        "scans": [
            {
                "scan_id": split_channel(scan.channel)[1],
                "message_count": scan.frames,
                "elapsed_time": scan.elapsed_s,
                "is_completed": scan.status != "running",
            }
            for scan in scans
        ],
        "total_events": sum(scan.events for scan in scans),
        "total_merged": sum(scan.merged for scan in scans),
        "complete": complete,
    }


def scan_list(summaries: list[ChannelSummary], *, complete: bool) -> dict[str, object]:
    """Return the answer of `GET /api/scans`: every scan, by its start, and whether every shard answered."""
    scans = sorted(_scans(summaries), key=lambda scan: (scan.started_ms, scan.channel))
    return {"scans": [scan_entry(scan) for scan in scans], "complete": complete}


def scan_entry(scan: ChannelSummary) -> dict[str, object]:
    """Return one scan as lists show it."""
    kind, scan_id = split_channel(scan.channel)
    started = datetime.fromtimestamp(scan.started_ms / 1000, UTC)
    return {
        "scan_id": scan_id,
        "kind": kind,
        "status": scan.status,
        "phase": scan.phase,
        "progress": scan.progress,
        "started_at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "elapsed_time": scan.elapsed_s,
        "message_count": scan.frames,
        "event_count": scan.events,
        "merged_count": scan.merged,
        "epoch": scan.epoch,
        "seq": scan.seq,
        "counts": scan.counts,
        "best_effort": scan.best_effort,
    }


def _scans(summaries: list[ChannelSummary]) -> list[ChannelSummary]:
    return [summary for summary in summaries if summary.channel.startswith("scan/")]
