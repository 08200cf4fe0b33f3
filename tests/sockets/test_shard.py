"""One shard with real sockets, its wake-ups called one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path

import pytest
import zmq

from pipeline.log import Log
from pipeline.metrics import HISTOGRAMS, Histogram
from pipeline.sockets import shard_history
from pipeline.throttle_batch.config import CleanupSection, ThrottleBatchConfig
from pipeline.throttle_batch.shard import Shard
from pipeline.vitals import Vitals
from pipeline.wire import AccessReply, AccessRequest, StateRequest, decode_history_reply, encode
from tests.harness import PATIENCE
from tests.sockets.peers import WAIT_S, Peers
from tests.unit.throttle_batch.conftest import CATALOGUE, START, TERMINAL, UNWATCHED, clock_ms, foreign
from tests.unit.throttle_batch.journaling import Worker, bounds

SCANS = 9


@pytest.fixture
def shard(run_dir: Path, tmp_path: Path) -> Iterator[tuple[Shard, Peers]]:
    """Give a shard whose journal holds scans that are no longer in memory."""
    config = ThrottleBatchConfig(
        cleanup=CleanupSection(cleanup_after_s=10.0), watchdog=UNWATCHED, journal=bounds()
    )
    worker = Worker(tmp_path, config, 0.0)
    for number in range(SCANS):
        worker.wake(0.0, foreign(START, TERMINAL, channel=f"scan/past-{number}"))
    worker.until(12.0)
    took = {name: Histogram() for name in HISTOGRAMS["throttle-batch"]}
    now = time.monotonic()
    with Peers(run_dir) as peers:
        log, vitals = Log(getLogger("shard")), Vitals(1, "1", now)
        made = Shard(
            0, config, CATALOGUE, worker.journal, peers.binder, log, vitals, "boot", clock_ms(now),
            now, took,
        )  # fmt: skip
        yield made, peers
        made.close()


@pytest.mark.parametrize("request_of", [AccessRequest, StateRequest])
def test_of_scans_that_are_in_the_journal_only_few_are_read_in_one_wake_up(
    shard: tuple[Shard, Peers], request_of: type[AccessRequest | StateRequest]
) -> None:
    made, peers = shard
    dealer = peers.connect(zmq.DEALER, shard_history(0))
    for number in range(SCANS):
        dealer.send(encode(request_of(number, f"scan/past-{number}")))
    answers, wake_ups = [], 0
    while len(answers) < SCANS:
        assert made.questions.poll(WAIT_S * PATIENCE * 1000), f"{len(answers)} were answered"
        made.answer(time.monotonic())
        wake_ups += 1
        while dealer.poll(20):
            answers.append(decode_history_reply(dealer.recv()))
    assert wake_ups >= SCANS / 2
    assert [reply.id for reply in answers if isinstance(reply, AccessReply)] in ([], list(range(SCANS)))
