"""Each fact judged: what is fine, what is wrong, and that what is wrong has a remedy."""

from __future__ import annotations

import pytest

from pipeline.operate.findings import Finding
from pipeline.operate.judging import (
    SKEW_S,
    SLOW_S,
    Seen,
    judge_absent,
    judge_all_descriptors,
    judge_clock,
    judge_disk,
    judge_hooks,
    judge_journals,
    judge_layout,
    judge_room,
    judge_stage,
    judge_versions,
)
from pipeline.shards import HASH_NAME
from pipeline.wire import Beacon, StatsReply


def is_wrong(finding: Finding, status: str, text: str) -> None:
    assert (finding.status, finding.text) == (status, text)
    assert finding.remedy


def stats(stage: str = "ingest-0", *, delay_s: float = 0.0, **counters: float) -> StatsReply:
    return StatsReply(1, stage, counters, 7, "1.0", 5.0, delay_s)


def beacons(shards: int, *heard: int, hash_name: str = HASH_NAME, writable: bool = True) -> dict[int, Beacon]:
    return {shard: Beacon(shard, shards, hash_name, "boot", writable=writable) for shard in heard}


def test_a_stage_that_answers() -> None:
    finding = judge_stage(Seen("ingest-0", True, 7, "S", stats()), 2)
    assert (finding.status, finding.text) == ("ok", "process 7 answers")


@pytest.mark.parametrize(
    ("seen", "status", "text"),
    [
        (Seen("shard-2", False), "failed", "nobody listens behind its socket: it is not running"),
        (
            Seen("shard-2", False, address="tcp://10.0.0.6:7220"),
            "failed",
            "nothing comes from tcp://10.0.0.6:7220 within 2 s: it is not running, cannot be reached, or "
            "does not let us in",
        ),
        (Seen("shard-2", True, 7, "T"), "failed", "process 7 is stopped (SIGSTOP, or a debugger)"),
        (
            Seen("edge-0", True, 7, "S"),
            "failed",
            "process 7 does not answer within 2 s: it hangs, or has far too much to do",
        ),
        (
            Seen("edge-0", True),
            "failed",
            "it does not answer within 2 s: it hangs, or has far too much to do",
        ),
        (
            Seen("edge-0", True, 7, "S", stats(draining=1)),
            "warning",
            "it drains: it is being stopped",
        ),
        (
            Seen("ingest-0", True, 7, "S", stats(delay_s=SLOW_S)),
            "warning",
            "it answers, but lately kept others waiting for 0.50 s",
        ),
    ],
)
def test_a_stage_with_which_something_is_wrong(seen: Seen, status: str, text: str) -> None:
    is_wrong(judge_stage(seen, 2), status, text)


def test_the_remedy_names_the_program() -> None:
    assert "bin/throttle-batch" in judge_stage(Seen("shard-2", False), 2).remedy
    is_wrong(judge_absent("edge", "/run/x"), "failed", "none runs in /run/x")
    assert "bin/edge" in judge_absent("edge", "/run/x").remedy


def test_a_layout_that_fits() -> None:
    finding = judge_layout(beacons(2, 0, 1), {"/data": 2, "/other": None})
    assert (finding.status, finding.text) == ("ok", "2 shards, all heard, all spread alike")


@pytest.mark.parametrize(
    ("heard", "made_with", "text"),
    [
        (beacons(2, 0) | beacons(4, 3), {}, "workers disagree about the number of shards: 2, 4"),
        (
            beacons(2, 0, 1, hash_name="dice"),
            {},
            f"channels are spread by dice; this version spreads by {HASH_NAME}",
        ),
        (beacons(2, 0, 1), {"/data": 3}, "/data was made with 3 shards, but the workers say 2"),
        (beacons(4, 0, 2), {"/data": 4}, "no sign of life from shard 1, 3 of 4"),
    ],
)
def test_a_layout_that_does_not(
    heard: dict[int, Beacon], made_with: dict[str, int | None], text: str
) -> None:
    is_wrong(judge_layout(heard, made_with), "failed", text)


def test_without_a_worker_layout_and_journal_are_not_judged() -> None:
    assert judge_layout({}, {"/data": 3}).status == judge_journals({}).status == "skipped"


def test_versions() -> None:
    assert judge_versions({}, "1.0").status == "skipped"
    assert judge_versions({"edge-0": "1.0"}, "1.0").status == "ok"
    finding = judge_versions({"edge-0": "1.0", "shard-0": "0.9", "ingest-0": ""}, "1.0")
    is_wrong(finding, "failed", "this is 1.0; not so: ingest-0 (does not say), shard-0 0.9")


def test_journals() -> None:
    assert judge_journals(beacons(2, 0, 1)).status == "ok"
    heard = beacons(3, 0) | beacons(3, 1, 2, writable=False)
    is_wrong(
        judge_journals(heard),
        "failed",
        "shard 1, 2 cannot write: nothing is acked there, producers wait",
    )


def test_disk() -> None:
    assert judge_disk("/data", 2**28, 2**28).text == "256.0 MiB free"
    assert judge_disk("/data", 2**28, 2**28).status == "ok"
    is_wrong(
        judge_disk("/data", 2**28 - 1, 2**28), "failed", "256.0 MiB free, 256.0 MiB are wanted (--min-free)"
    )
    assert judge_disk("/data", 5, 0).text == "5 bytes free"
    assert judge_disk("/data", 3 * 2**50, 0).text == "3072.0 TiB free"


def test_open_files() -> None:
    (fine,) = judge_all_descriptors({"ingest-0": (10, 1_000), "edge-0": (800, 1_000)})
    assert (fine.status, fine.text) == ("ok", "room everywhere; most in edge-0: 800 of 1000")
    short, full = judge_all_descriptors({"a": (1, 10), "edge-0": (900, 1_000), "edge-1": (1_000, 1_000)})
    is_wrong(short, "warning", "900 of 1000 are open")
    is_wrong(full, "failed", "1000 of 1000 are open")
    assert judge_all_descriptors({})[0].status == "skipped"


@pytest.mark.parametrize("sign", [1, -1])
def test_clocks(sign: int) -> None:
    assert judge_clock("edge", sign * SKEW_S).status == "ok"
    is_wrong(
        judge_clock("edge", sign * 2.0), "warning", f"2.0 s {'ahead of' if sign > 0 else 'behind'} this one"
    )


def test_room() -> None:
    (fine,) = judge_room([stats(events=5), stats("shard-0", pending_bytes=2_048)])
    assert fine.status == "ok"
    assert fine.text.endswith("; 2.0 KiB wait for frames")
    (full,) = judge_room([stats(), stats("shard-0", **{"not_taken{reason=full}": 3})])
    is_wrong(
        full, "warning", "not_taken{reason=full} is 3: a high-water mark was reached since it was started"
    )
    assert full.name == "room of shard-0"
    assert judge_room([])[0].status == "skipped"


def test_hooks() -> None:
    assert judge_hooks(stats("notify", waiting=2)).text == "their receivers take messages; 2 wait"
    assert judge_hooks(stats("notify")).status == "ok"
    text = "1 receivers do not take messages, 2 want none any more; 3 messages wait"
    is_wrong(judge_hooks(stats("notify", hooks_failing=1, hooks_gone=2, waiting=3)), "warning", text)
    is_wrong(
        judge_stage(Seen("notify", False), 2), "failed", "nobody listens behind its socket: it is not running"
    )
