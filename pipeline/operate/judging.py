"""What the doctor makes of the facts: each function judges one thing, and says what to do about it. Pure.

The facts are gathered by `examination` and `canary`; the findings are printed by the `doctor` command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.operate.findings import Finding
from pipeline.shards import HASH_NAME
from pipeline.wire import Beacon, StatsReply

SLOW_S = 0.5
"""A stage that lately kept others waiting for so long does not keep up."""
SKEW_S = 1.0
"""Clocks that differ by more are told."""
DESCRIPTORS_SHARE = 0.9
"""A process that has used so much of its limit of open files will soon refuse connections."""

_PROGRAMS = {"ingest": "ingest", "shard": "throttle-batch", "edge": "edge", "notify": "notify"}
_HIGH_WATER = {
    "dropped{reason=shard_full}": "a worker does not keep up, or was stopped: see its log and `pipeline top`",
    "dropped{reason=producer_full}": "a producer does not read its acks: look at the scanner",
    "dropped{reason=pending_full}": "a producer that does not number its events is faster than the frame "
    "budget: use Emitter or bin/emit",
    "not_taken{reason=full}": "more comes than the frame budget lets out: raise batch.max_frames_per_s or "
    "batch.max_pending_bytes",
    "not_taken{reason=max_channels}": "too many scans at once: raise limits.max_channels",
    "dropped{reason=asker_full}": "somebody asks the edge for figures and does not read them",
    "questions_not_sent": "a worker does not read questions: see its log, and `pipeline top`",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A stage as it was met.

    Attributes:
        name: such as `ingest-0`, `shard-2` or `notify`.
        bound: somebody listens behind its socket.
        pid: that process; 0 where it is not known.
        state: of the process, a letter as in /proc/PID/stat; empty where it is not known.
        stats: its answer; None when there was none.
        address: where it is reached by TCP; empty where it is not.
    """

    name: str
    bound: bool
    pid: int = 0
    state: str = ""
    stats: StatsReply | None = None
    address: str = ""


def judge_stage(seen: Seen, waited_s: float) -> Finding:
    """Judge whether a stage is there and answers.

    Args:
        seen: how it was met.
        waited_s: how long it was given to answer.
    """
    program = _PROGRAMS[seen.name.partition("-")[0]]
    figures: dict[str, object] = {"pid": seen.pid or None, "state": seen.state or None}
    if not seen.bound and seen.address:
        return Finding(
            seen.name,
            "failed",
            f"nothing comes from {seen.address} within {waited_s:g} s: it is not running, cannot be reached, "
            f"or does not let us in",
            f"see whether it runs (bin/{program}); if so, its log has `connection refused`, and why",
            figures=figures,
        )
    if not seen.bound:
        return Finding(
            seen.name,
            "failed",
            "nobody listens behind its socket: it is not running",
            f"start it: bin/up runs a whole pipeline, bin/{program} this part; its log says why it ended",
            figures=figures,
        )
    if seen.stats is None and seen.state in ("T", "t"):
        return Finding(
            seen.name,
            "failed",
            f"process {seen.pid} is stopped (SIGSTOP, or a debugger)",
            f"kill -CONT {seen.pid}; or kill -KILL {seen.pid} if `up` runs it, which then starts another",
            figures=figures,
        )
    if seen.stats is None:
        process = f"process {seen.pid}" if seen.pid else "it"
        return Finding(
            seen.name,
            "failed",
            f"{process} does not answer within {waited_s:g} s: it hangs, or has far too much to do",
            f"see its log and its CPU; if `up` runs it, kill -KILL {seen.pid or 'PID'}: another is started",
            figures=figures,
        )
    figures |= {"uptime_s": seen.stats.uptime_s, "delay_s": seen.stats.delay_s}
    if seen.stats.counters.get("draining"):
        return Finding(
            seen.name,
            "warning",
            "it drains: it is being stopped",
            "wait for the one that replaces it",
            figures=figures,
        )
    if seen.stats.delay_s >= SLOW_S:
        return Finding(
            seen.name,
            "warning",
            f"it answers, but lately kept others waiting for {seen.stats.delay_s:.2f} s",
            "the machine is too busy, or its disk too slow: see `pipeline top`",
            figures=figures,
        )
    return Finding(seen.name, "ok", f"process {seen.stats.pid or seen.pid} answers", figures=figures)


def judge_hooks(stats: StatsReply) -> Finding:
    """Judge whether the receivers of the hooks take what they are sent.

    Args:
        stats: the answer of notify.
    """
    names = ("hooks_failing", "hooks_gone", "waiting")
    failing, gone, waiting = (int(stats.counters.get(name, 0)) for name in names)
    figures: dict[str, object] = dict(zip(names, (failing, gone, waiting), strict=True))
    if failing or gone:
        text = f"{failing} receivers do not take messages, {gone} want none any more; {waiting} messages wait"
        remedy = (
            "`not delivered` and `hook is gone` in its log say which and why; bin/notify --test HOOK tries"
        )
        return Finding("hooks", "warning", text, remedy, figures=figures)
    return Finding("hooks", "ok", f"their receivers take messages; {waiting} wait", figures=figures)


def judge_absent(stage: str, run_dir: str) -> Finding:
    """Judge that no socket of a stage is in the run directory."""
    program = _PROGRAMS[stage]
    return Finding(
        stage,
        "failed",
        f"none runs in {run_dir}",
        f"start it: bin/up, or bin/{program}; or name the pipeline's run directory with --run-dir",
    )


def judge_layout(beacons: Mapping[int, Beacon], made_with: Mapping[str, int | None]) -> Finding:
    """Judge whether all stages and data directories agree about the shards.

    Args:
        beacons: the last one of each shard that was heard.
        made_with: data directory -> the number of shards it was made with; None when it cannot be read.
    """
    counts = sorted({beacon.shards for beacon in beacons.values()})
    hashes = sorted({beacon.hash for beacon in beacons.values()})
    figures: dict[str, object] = {"shards": counts, "hash": hashes, "data_dirs": dict(made_with)}
    if not beacons:
        return Finding(
            "layout",
            "skipped",
            "no worker says how many shards there are",
            figures=figures,
        )
    if len(counts) > 1:
        return Finding(
            "layout",
            "failed",
            f"workers disagree about the number of shards: {', '.join(map(str, counts))}",
            "stop those that were started with another --shards: it is one number for the whole pipeline",
            figures=figures,
        )
    if hashes != [HASH_NAME]:
        return Finding(
            "layout",
            "failed",
            f"channels are spread by {', '.join(hashes)}; this version spreads by {HASH_NAME}",
            "run one version of the program for all processes",
            figures=figures,
        )
    for place, shards in made_with.items():
        if shards is not None and shards != counts[0]:
            return Finding(
                "layout",
                "failed",
                f"{place} was made with {shards} shards, but the workers say {counts[0]}",
                "start the workers with the number the data directory was made with, or with a new directory",
                figures=figures,
            )
    missing = sorted(set(range(counts[0])) - set(beacons))
    if missing:
        return Finding(
            "layout",
            "failed",
            f"no sign of life from shard {', '.join(map(str, missing))} of {counts[0]}",
            "start the worker that owns it (bin/throttle-batch --own), or see above why it is silent",
            figures=figures,
        )
    return Finding("layout", "ok", f"{counts[0]} shards, all heard, all spread alike", figures=figures)


def judge_versions(versions: Mapping[str, str], own: str) -> Finding:
    """Judge whether all processes run one version.

    Args:
        versions: stage -> what it says.
        own: ours.
    """
    figures: dict[str, object] = {"own": own, **versions}
    strangers = {name: version for name, version in versions.items() if version != own}
    if not versions:
        return Finding("versions", "skipped", "no stage answers", figures=figures)
    if strangers:
        told = ", ".join(
            f"{name} {version or '(does not say)'}" for name, version in sorted(strangers.items())
        )
        return Finding(
            "versions",
            "failed",
            f"this is {own}; not so: {told}",
            "restart those of an earlier version: kill -USR2 of `up` replaces all, one at a time",
            figures=figures,
        )
    return Finding("versions", "ok", f"all run {own}", figures=figures)


def judge_journals(beacons: Mapping[int, Beacon]) -> Finding:
    """Judge whether every shard can write its journal."""
    if not beacons:
        return Finding("journal", "skipped", "no worker says whether it can write")
    closed = sorted(shard for shard, beacon in beacons.items() if not beacon.writable)
    figures: dict[str, object] = {"unwritable": closed}
    if closed:
        return Finding(
            "journal",
            "failed",
            f"shard {', '.join(map(str, closed))} cannot write: nothing is acked there, producers wait",
            "make room on the disk of the data directory, see the worker's log; it goes on by itself",
            figures=figures,
        )
    return Finding("journal", "ok", f"{len(beacons)} shards can write", figures=figures)


def judge_disk(place: str, free_bytes: int, needed_bytes: int) -> Finding:
    """Judge the room on the disk of a data directory."""
    figures: dict[str, object] = {"path": place, "free_bytes": free_bytes, "needed_bytes": needed_bytes}
    name = f"disk of {place}"
    if free_bytes < needed_bytes:
        return Finding(
            name,
            "failed",
            f"{_size(free_bytes)} free, {_size(needed_bytes)} are wanted (--min-free)",
            "make room, or lower journal.retention_age_s or journal.max_total_bytes; below "
            "journal.min_free_bytes nothing is acked",
            figures=figures,
        )
    return Finding(name, "ok", f"{_size(free_bytes)} free", figures=figures)


def judge_descriptors(name: str, used: int, limit: int) -> Finding | None:
    """Judge a process's open files; None when there is room."""
    if used < limit * DESCRIPTORS_SHARE:
        return None
    return Finding(
        f"open files of {name}",
        "failed" if used >= limit else "warning",
        f"{used} of {limit} are open",
        "raise the limit (ulimit -n, or LimitNOFILE of the unit) and restart it",
        figures={"used": used, "limit": limit},
    )


def judge_all_descriptors(found: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Judge the open files of all processes.

    Args:
        found: process -> (open files, its limit).

    Returns:
        A finding for each process that has little room; one for all when none has.
    """
    bad = [judge_descriptors(name, used, limit) for name, (used, limit) in found.items()]
    told = [finding for finding in bad if finding is not None]
    if told:
        return told
    if not found:
        return [
            Finding(
                "open files", "skipped", "no process can be looked at", "run it as the user that runs them"
            )
        ]
    name = max(found, key=lambda each: found[each][0] / max(found[each][1], 1))
    used, limit = found[name]
    figures: dict[str, object] = {each: list(numbers) for each, numbers in found.items()}
    return [
        Finding("open files", "ok", f"room everywhere; most in {name}: {used} of {limit}", figures=figures)
    ]


def judge_clock(name: str, skew_s: float) -> Finding:
    """Judge how far a stage's wall clock is from ours: epochs and shown times are made from it."""
    figures: dict[str, object] = {"skew_s": round(skew_s, 3)}
    if abs(skew_s) > SKEW_S:
        return Finding(
            f"clock of {name}",
            "warning",
            f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this one",
            "the clock was set since it was started: restart it, and keep the clock by NTP",
            figures=figures,
        )
    return Finding(f"clock of {name}", "ok", f"within {SKEW_S:g} s of this one", figures=figures)


def judge_room(answers: Iterable[StatsReply]) -> list[Finding]:
    """Judge whether a queue was full since its stage was started."""
    found = []
    asked = list(answers)
    for stats in asked:
        for counter, remedy in _HIGH_WATER.items():
            times = int(stats.counters.get(counter, 0))
            if times:
                text = f"{counter} is {times}: a high-water mark was reached since it was started"
                figures: dict[str, object] = {counter: times}
                found.append(Finding(f"room of {stats.stage}", "warning", text, remedy, figures=figures))
                break
    if found:
        return found
    if not asked:
        return [Finding("room", "skipped", "no stage answers")]
    pending = sum(int(stats.counters.get("pending_bytes", 0)) for stats in asked)
    text = f"no high-water mark was reached since the stages were started; {_size(pending)} wait for frames"
    return [Finding("room", "ok", text, figures={"pending_bytes": pending})]


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
