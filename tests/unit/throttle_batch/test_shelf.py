"""Past lives beside those in memory: what is told of them, and what may be deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.throttle_batch.config import CleanupSection, LimitsSection, ThrottleBatchConfig
from pipeline.throttle_batch.shelf import MAX_LIVES_LOOKED_AT, Shelf
from pipeline.wire import DeleteReply, DeleteRequest, PastRequest
from tests.unit.throttle_batch.conftest import START, TERMINAL, UNWATCHED, fact, foreign
from tests.unit.throttle_batch.journaling import Worker, bounds, chunk, commit, keep

CLEANUP_S = 10.0


class Standing(Worker):
    """A worker whose shelf is looked at."""

    @property
    def shelf(self) -> Shelf:
        return Shelf(0, self.batcher, self.journal)

    def told(self, search: str = "") -> list[tuple[str, str, bool]]:
        """Return (channel, status, present) of the past lives."""
        reply = self.shelf.past(PastRequest(1, search))
        assert reply.next is None
        return [(life.channel, life.status, life.present) for life in reply.lives]

    def delete(self, name: str, epoch: int | None = None) -> DeleteReply:
        return self.shelf.delete(DeleteRequest(1, name, epoch))[0]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Standing]:
    config = ThrottleBatchConfig(
        cleanup=CleanupSection(cleanup_after_s=CLEANUP_S, idle_cleanup_s=100.0),
        limits=LimitsSection(max_past_channels=2),
        watchdog=UNWATCHED,
        journal=bounds(),
    )
    standing = Standing(tmp_path, config, 0.0)
    yield standing
    standing.journal.close()


def test_a_life_is_past_from_its_cleanup_on(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, fact(1), TERMINAL))
    assert worker.told() == []
    worker.until(CLEANUP_S + 1)
    assert worker.told() == [("scan/a", "completed", True)]
    worker.kill("boot", CLEANUP_S + 2)
    assert worker.told() == [("scan/a", "completed", True)]


def test_what_is_told_is_the_end_also_before_that_is_written(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    worker.batcher.handle_timeout(CLEANUP_S + 1)  # freed; its state goes with the next commit
    assert worker.told() == [("scan/a", "completed", True)]


def test_a_life_that_never_ended_is_past_when_it_is_freed(worker: Standing) -> None:
    worker.wake(0.0, foreign(START))
    worker.until(101.0)
    assert worker.told() == [("scan/a", "running", True)]


def test_an_earlier_life_is_not_the_present_one(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    worker.until(CLEANUP_S + 1)
    worker.wake(20.0, foreign(START))
    assert worker.told() == [("scan/a", "completed", False)]
    worker.wake(21.0, foreign(TERMINAL))
    worker.until(40.0)
    assert worker.told() == [("scan/a", "completed", True), ("scan/a", "completed", False)]


def test_lives_that_are_not_kept_in_mind_are_told_all_the_same(worker: Standing) -> None:
    for number in range(5):
        worker.wake(number, foreign(START, TERMINAL, channel=f"scan/{number}"))
    worker.until(30.0)
    assert worker.batcher.past("scan/0") is None
    assert worker.told() == [(f"scan/{number}", "completed", True) for number in (4, 3, 2, 1, 0)]
    shelf = worker.shelf
    assert shelf.latest("scan/0") is not None
    assert shelf.latest("scan/none") is None


def test_a_question_looks_at_so_many_lives_and_says_where_to_go_on(worker: Standing) -> None:
    count = MAX_LIVES_LOOKED_AT + 300
    for number in range(count):
        name = f"scan/{number}"
        worker.journal.commit(commit(chunk(1, START, channel=name, ends=True), keep(1, name)), number)
    shelf = worker.shelf
    first = shelf.past(PastRequest(1, "nowhere"))
    assert first.lives == []
    assert first.next is not None
    assert first.next[0] == count - MAX_LIVES_LOOKED_AT
    rest = shelf.past(PastRequest(1, "nowhere", before=first.next))
    assert (rest.lives, rest.next) == ([], None)
    page = shelf.past(PastRequest(1, limit=2))
    assert [life.channel for life in page.lives] == [f"scan/{count - 1}", f"scan/{count - 2}"]
    assert page.next == page.lives[-1].mark


def test_what_has_ended_is_deleted_and_what_runs_is_not(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    worker.wake(0.0, foreign(START, channel="scan/b"))
    ended = worker.batcher.current("scan/a")
    assert ended is not None
    assert worker.delete("scan/b").problem == "running"
    assert worker.delete("scan/none").problem == "unknown"
    assert worker.delete("scan/a", ended.epoch + 1).problem == "unknown"
    assert worker.delete("scan/a").epochs == [ended.epoch], "before its cleanup, too"
    assert worker.delete("scan/a").problem == "unknown"
    assert worker.batcher.current("scan/a") is None
    worker.wake(0.0, foreign(START))
    again = worker.batcher.current("scan/a")
    assert again is not None
    assert again.epoch > ended.epoch


def test_what_is_in_no_frame_yet_is_given_out_before_the_life_goes(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    worker.wake(0.0, foreign(fact(1), fact(2)))
    frames = worker.shelf.delete(DeleteRequest(1, "scan/a"))[1]
    assert [(frame.first, frame.last) for frame in frames] == [(3, 4)]
    worker.until(1_000.0)
    assert worker.told() == []


def test_one_life_is_deleted_and_the_others_stay(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    worker.until(CLEANUP_S + 1)
    (first,) = worker.shelf.past(PastRequest(1)).lives
    worker.wake(20.0, foreign(START))
    assert worker.delete("scan/a").problem == "running"
    assert worker.delete("scan/a", first.epoch).epochs == [first.epoch]
    assert worker.told() == []
    assert worker.batcher.current("scan/a") is not None


def test_no_later_life_has_a_deleted_epoch_whatever_the_clock_says(worker: Standing) -> None:
    worker.wake(50.0, foreign(START, TERMINAL))
    (epoch,) = worker.delete("scan/a").epochs
    worker.kill("boot", 0.0)  # the clock went back by 50 seconds
    worker.wake(0.0, foreign(START))
    again = worker.batcher.current("scan/a")
    assert again is not None
    assert again.epoch > epoch


def test_a_journal_that_cannot_be_written_deletes_nothing(worker: Standing) -> None:
    worker.wake(0.0, foreign(START, TERMINAL))
    other = sqlite3.connect(worker.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert worker.delete("scan/a").problem == "journal"
    other.execute("ROLLBACK")
    other.close()
    assert worker.batcher.current("scan/a") is not None
    assert worker.delete("scan/a").problem == ""
