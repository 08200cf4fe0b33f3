"""The journal on real files. Opening them is in test_journal_file, letting go of events in test_retention,
states in test_recovery."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import JournalDamaged, JournalError
from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.config import LimitsSection, ThrottleBatchConfig
from pipeline.throttle_batch.records import NOT_POSTED, LifeState, Posted, ProducerRecord
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.wire import Ack, Envelope
from tests.unit.throttle_batch.conftest import (
    START,
    TERMINAL,
    UNWATCHED,
    BatcherRig,
    Core,
    clock_ms,
    critical,
    fact,
    foreign,
    load_core,
    numbered,
    state,
)
from tests.unit.throttle_batch.journaling import (
    FACTS,
    HUGE,
    Worker,
    as_a_kill_leaves_it,
    bounds,
    chunk,
    commit,
    everything,
    keep,
    opened,
)

# --- round trip ---------------------------------------------------------------------------------------


def fill(journal: SqliteJournal) -> None:
    """Two lives of one channel, and one of another; a second transaction goes on with the first."""
    journal.commit(
        commit(
            chunk(1, *FACTS[:3], ends=True),
            chunk(1, *FACTS[5:6], channel="report/r", epoch=3),
            Ack("p", 5, "scan/a", 9),
        ),
        1_000,
    )
    journal.commit(
        commit(
            chunk(4, *FACTS[3:5]),
            chunk(1, START, epoch=8),
            Ack("p", 5, "scan/a", 11),
            Ack("q", 0, "scan/b", 0),
            keep(3, status="completed", counts={"other": 3}, frames=2),
        ),
        2_000,
    )


def check_filled(journal: SqliteJournal) -> None:
    assert everything(journal) == (1, FACTS[:5])
    assert everything(journal, epoch=8) == (1, [START])
    assert everything(journal, "report/r", 3) == (1, FACTS[5:6])
    assert (journal.held("scan/a", 9), journal.head("scan/a", 9)) == (None, None)
    assert journal.read("scan/b", 7, 4, 9, HUGE) == (4, [])


@pytest.mark.parametrize("kill", [False, True])
def test_what_is_committed_is_there_when_it_is_opened_again(tmp_path: Path, kill: bool) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal)
        check_filled(journal)
        if kill:
            path = as_a_kill_leaves_it(path, tmp_path / "killed")
    with opened(path) as journal:
        recovered = journal.load()
        check_filled(journal)
        assert journal.load().lives == [], "asked once"
        counted = journal.counters()
    by_place = {(life.channel, life.epoch): life for life in recovered.lives}
    assert [life.epoch for life in recovered.lives] == [3, 7, 8], "by ascending epoch"
    ended = by_place["scan/a", 7]
    assert (ended.head, ended.ended_ms, ended.updated_ms) == (5, 1_000, 2_000)
    assert ended.state == keep(3, status="completed", counts={"other": 3}, frames=2).state
    assert ended.tail == FACTS[3:5], "what came after the checkpoint"
    going_on = by_place["scan/a", 8]
    assert (going_on.ended, going_on.tail) == (False, [START])
    assert going_on.state == LifeState(folded=0, created_ms=2_000)
    assert sorted(recovered.producers, key=lambda known: known.pid) == [
        ProducerRecord("p", "scan/a", 5, 11),
        ProducerRecord("q", "scan/b", 0, 0),
    ]
    with opened(path) as journal:
        assert journal.counters() == counted
        assert counted["journal_bytes"] > sum(map(len, [*FACTS[:6], START]))


def test_what_is_kept_of_one_that_posts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    kept = {("k", "scan/a"): Posted(7, 3, "digest"), ("none", "scan/a"): Posted(0, 0, "other")}
    acks = [Ack("k", 0, "scan/a", 3), Ack("none", 0, "scan/a", 1), Ack("p", 5, "scan/a", 9)]
    with opened(path) as journal:
        journal.commit(Commit([chunk(1, *FACTS[:3])], acks, [], kept), 1_000)
    with opened(path) as journal:
        found = {known.pid: known.posted for known in journal.load().producers}
    assert found == {"k": Posted(7, 3, "digest"), "none": Posted(0, 0, "other"), "p": NOT_POSTED}
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE producer SET seq = 2 WHERE pid = 'k'")
        db.commit()
    with pytest.raises(JournalDamaged, match="how far producer k is"):
        SqliteJournal(path, bounds(), "boot")


def test_it_goes_on_after_it_was_opened_again(tmp_path: Path) -> None:
    for first in range(1, 101, 10):
        with opened(tmp_path / "journal") as journal:
            journal.commit(commit(chunk(first, *FACTS[first - 1 : first + 9])), first)
    with opened(tmp_path / "journal") as journal:
        assert everything(journal) == (1, FACTS[:100])


def test_pages(tmp_path: Path) -> None:
    """As of a `History`: every `first`, `upto` and size gives the same."""
    core = load_core()
    history = core.history.History(HUGE, HUGE)
    with opened(tmp_path / "journal") as journal:
        seq = 1
        for size in (1, 7, 30, 2, 60):
            part = chunk(seq, *[fact(number, 20 + number % 90) for number in range(seq, seq + size)])
            journal.commit(commit(part), 0)
            history.append(part)
            seq += size
        for first in range(103):
            for upto in (0, 1, 5, 37, 40, 99, 100, 101, 1_000):
                for size in (1, 200, 3_000, HUGE):
                    asked = ("scan/a", 7, first, upto, size)
                    assert journal.read(*asked) == history.read(*asked), asked


# --- whatever happens to the worker -------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.builds(fact, st.integers(0, 99), st.sampled_from([0, 0, 300])),
        st.builds(state, st.sampled_from("xy"), st.integers(0, 99)),
        st.sampled_from([START, TERMINAL, critical(1)]),
    ),
    min_size=1,
    max_size=8,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), EVENTS),
        st.tuples(st.just("send"), st.integers(0, 3), EVENTS),
        st.tuples(st.just("fail"), st.integers(0, 3), EVENTS),
        st.tuples(st.just("resend"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("lose"), st.integers(0, 3), EVENTS),
        st.tuples(st.just("wait"), st.sampled_from([7, 299, 400, 100_000]), st.none()),
        st.tuples(st.sampled_from(["kill", "stop"]), st.sampled_from(["boot", "other boot"]), st.none()),
    ),
    min_size=12,
    max_size=40,
)


class Producers:
    """Three that number, and one that does not; the first two share a channel."""

    CHANNELS = ("scan/a", "scan/a", "report/r", "scan/b")

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = [[], [], []]

    def message(self, which: int, events: list[bytes]) -> Envelope:
        if which == 3:
            return foreign(*events, channel=self.CHANNELS[which])
        self.sent[which] += events
        return self.again(which, len(events))

    def again(self, which: int, count: int) -> Envelope:
        """The last `count` events once more; the producer has seen no ack at all."""
        sent = self.sent[which]
        first = max(1, len(sent) - count + 1)
        return numbered(first, *sent[first - 1 :], pid=f"p{which}", channel=self.CHANNELS[which])

    def forget(self, which: int, count: int) -> None:
        if which < 3:
            del self.sent[which][-count:]


def check_alike(worker: Worker, twin: BatcherRig) -> None:
    """The worker that was killed time and again is where the one is that never was."""
    for (channel, epoch), log in twin.log.items():
        assert worker.journal.head(channel, epoch) == len(log)
        held, events = everything(worker.journal, channel, epoch)
        assert events == log[held - 1 :]
    for name in {channel for channel, _ in twin.log}:
        assert end(worker, name) == end(twin, name)


def end(driven: Worker | BatcherRig, name: str) -> tuple[object, ...]:
    """How far a channel's present life is, in memory or not, and all that is folded into its state."""
    batcher = driven.batcher
    life = batcher.current(name)
    if life is None:
        past = batcher.past(name)
        return past.head, past.ended_ms, *whole(past.state, past.epoch)
    ended_ms = None if life.terminal_at is None else clock_ms(life.terminal_at)
    return life.head_seq, ended_ms, *whole(life.snapshot(), life.epoch)


def whole(state: LifeState, epoch: int) -> tuple[object, ...]:
    """All of a state but what no event tells: how many frames there were."""
    return (
        epoch,
        state.folded,
        state.created_ms,
        state.best_effort,
        state.status,
        state.phase,
        state.progress,
        state.counts,
        state.totals,
        state.about,
        state.event_bytes,
    )


PORT = b'{"type":"portFound","ip":"10.0.0.1","port":80,"protocol":"TCP","state":"Open"}'
KILLED_AFTER_A_LATE_EVENT: list[tuple[str, object, object]] = [
    ("send", 0, [PORT]),
    ("send", 0, [b'{"type":"scanCompleted"}']),
    ("wait", 400, None),
    ("send", 0, [b'{"type":"phaseStarted","phase":"p"}']),
    ("kill", "boot", None),
    ("send", 0, [PORT]),
]


@given(steps=STEPS, max_events=st.sampled_from([1, 5, 20, HUGE]))
@example(steps=KILLED_AFTER_A_LATE_EVENT, max_events=1)
@settings(max_examples=60)
def test_a_worker_that_is_killed_is_where_one_is_that_was_not(
    core: Core, steps: list[tuple[str, object, object]], max_events: int
) -> None:
    """Several channels, lives and producers; the twin has no journal and never stops."""
    config = ThrottleBatchConfig(
        journal=bounds(max_channel_events=max_events, retention_age_s=HUGE, fsync=True), watchdog=UNWATCHED
    )
    twin = core.batcher()
    producers = Producers()
    now = 0.0
    with tempfile.TemporaryDirectory() as place:
        worker = Worker(Path(place), config, now)
        try:
            for what, one, other in steps:
                if what in ("send", "resend", "fail"):
                    message = (producers.again if what == "resend" else producers.message)(one, other)
                    if not message.events:
                        continue
                    released = None
                    if what == "fail":
                        break_commits(worker.path)
                        released = worker.wake(now, message)  # there may be nothing to commit
                        check_nothing_new(worker, twin)
                        mend_commits(worker.path)
                        message_or_none = ()
                    else:
                        message_or_none = (message,)
                    if released is None:
                        released = worker.wake(now, *message_or_none)
                    acks = len(twin.acks)
                    twin.wake(now, message)
                    assert released.feedback.acks == twin.acks[acks:]
                elif what == "lose":  # taken, and the worker is killed before it commits
                    worker.batcher.receive(producers.message(one, other), now)
                    producers.forget(one, len(other))
                    worker.kill("boot", now)
                elif what == "wait":
                    now += one
                else:
                    (worker.kill if what == "kill" else worker.stop)(one, now)
                    check_alike(worker, twin)
                    again = [producers.again(which, 1_000) for which in range(3) if producers.sent[which]]
                    worker.wake(now, *again)
                    twin.wake(now, *again)
                worker.trim(now)
                worker.until(now)
                twin.until(now)
                check_alike(worker, twin)
        finally:
            worker.journal.close()


def break_commits(path: Path, tables: tuple[str, ...] = ("chunk", "producer")) -> None:
    """Make every commit fail that adds a row to one of the tables, after whatever it has written before."""
    with closing(sqlite3.connect(path)) as db:
        for table in tables:
            db.execute(
                f"CREATE TRIGGER broken_{table} AFTER INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END"
            )


def mend_commits(path: Path, tables: tuple[str, ...] = ("chunk", "producer")) -> None:
    with closing(sqlite3.connect(path)) as db:
        for table in tables:
            db.execute(f"DROP TRIGGER broken_{table}")


def check_nothing_new(worker: Worker, twin: BatcherRig) -> None:
    for (channel, epoch), log in twin.log.items():
        assert worker.journal.head(channel, epoch) == len(log)
    with closing(sqlite3.connect(worker.path)) as db:
        rows = db.execute("SELECT channel, epoch, head FROM life").fetchall()
        committed = dict(db.execute("SELECT pid, committed FROM producer").fetchall())
    assert {(channel, epoch): head for channel, epoch, head in rows} == {
        place: len(log) for place, log in twin.log.items()
    }
    assert committed == {pid: number for (pid, _), (_, number) in twin.durable.items()}


# --- all or nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["life", "chunk", "producer"])
def test_a_commit_that_fails_half_way_leaves_nothing(tmp_path: Path, table: str) -> None:
    path = tmp_path / "journal"
    whole_commit = commit(
        chunk(6, *FACTS[5:9]),
        chunk(1, START, channel="scan/new"),
        Ack("p", 5, "scan/a", 20),
        keep(9, counts={"other": 9}),
    )
    with opened(path) as journal:
        fill(journal)
        counted = journal.counters()
        break_commits(path, (table,))
        for _ in range(2):
            with pytest.raises(JournalError, match="broken on purpose"):
                journal.commit(whole_commit, 3_000)
        check_filled(journal)
        assert journal.counters() == {**counted, "journal_failed_commits": 2}
        killed = as_a_kill_leaves_it(path, tmp_path / "killed")
        mend_commits(path, (table,))
        journal.commit(whole_commit, 3_000)
        assert everything(journal) == (1, FACTS[:9])
        assert everything(journal, "scan/new") == (1, [START])
    with opened(killed) as journal:
        check_filled(journal)
        recovered = journal.load()
        assert {life.head for life in recovered.lives if life.epoch == 7} == {5}
        assert {known.committed for known in recovered.producers} == {11, 0}


def test_too_little_disk_refuses_commits_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal)
        journal.commit(commit(keep(5)), 2_000)
    with opened(tmp_path / "journal", min_free_bytes=1 << 60, max_channel_events=2) as journal:
        with pytest.raises(
            JournalError, match=rf"disk full: \d+ bytes are free, min_free_bytes is {1 << 60}"
        ):
            journal.commit(commit(chunk(6, FACTS[5])), 3_000)
        assert journal.counters()["journal_failed_commits"] == 1
        check_filled(journal)
        assert journal.trim(3_000) == []
        assert everything(journal) == (4, FACTS[3:5]), "trimming goes on: it is what makes room"
        assert [place for _ in range(2) for place in journal.trim(10**12)] != [], "by age as well"
        assert journal.head("scan/a", 7) is None


def test_somebody_elses_lock_fails_a_commit_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked") as caught:
                journal.commit(commit(chunk(6, FACTS[5])), 3_000)
            assert not isinstance(caught.value, JournalDamaged)
            check_filled(journal)
            other.execute("ROLLBACK")
        journal.commit(commit(chunk(6, FACTS[5])), 3_000)
        assert journal.head("scan/a", 7) == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def attempted(journal: SqliteJournal, attempt: Commit) -> JournalError | None:
    """Commit; return why it failed."""
    try:
        journal.commit(attempt, 3_000)
    except JournalError as error:
        return error
    return None


@pytest.mark.system
def test_a_full_disk_holds_up_commits_until_there_is_room(small_disk: Path) -> None:
    with opened(small_disk / "journal", max_channel_events=5) as journal:
        fill(journal)
        journal.commit(commit(keep(5)), 2_000)
        (small_disk / "ballast").write_bytes(bytes(1_500_000))
        first, waiting = 6, None
        while waiting is None:
            attempt = commit(chunk(first, fact(first, 60_000)), Ack("p", 5, "scan/a", first + 10))
            problem = attempted(journal, attempt)
            if problem is None:
                first += 1
            else:
                assert not isinstance(problem, JournalDamaged)
                assert "full" in str(problem)
                waiting = attempt
            assert first < 100, "the disk is never full"
        assert journal.head("scan/a", 7) == first - 1
        assert everything(journal)[1][:5] == FACTS[:5]
        assert journal.trim(3_000) == []
        assert journal.held("scan/a", 7) == 1, "trimming waits, for it has to write as well"
        with pytest.raises(JournalError, match="full"):
            journal.commit(waiting, 3_000)
        (small_disk / "ballast").unlink()
        journal.commit(waiting, 3_000)
        assert everything(journal)[1][-1] == fact(first, 60_000)
        assert journal.trim(3_000) == []
        assert journal.held("scan/a", 7) > 1
        assert journal.counters()["journal_failed_commits"] == 2
    with opened(small_disk / "journal") as journal:
        assert journal.head("scan/a", 7) == first
        assert {known.committed for known in journal.load().producers if known.pid == "p"} == {first + 10}


# --- copies -------------------------------------------------------------------------------------------


def test_a_backup_taken_while_it_is_written_is_a_journal(tmp_path: Path) -> None:
    """With SQLite's own backup, page by page, a commit between any two steps."""
    path, target = tmp_path / "journal", tmp_path / "backup"
    with opened(path) as journal:
        for first in range(1, 101):
            journal.commit(commit(chunk(first, fact(first, 4_000))), 0)
        done = 100

        def go_on(status: int, remaining: int, total: int) -> None:
            nonlocal done
            if done < 130:
                done += 1
                journal.commit(commit(chunk(done, fact(done, 4_000)), Ack("p", 1, "scan/a", done)), 0)

        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=20, progress=go_on)
        assert done == 130
    with opened(target, "another boot") as journal:
        head = journal.head("scan/a", 7)
        assert 100 <= head <= 130
        assert everything(journal) == (1, [fact(number, 4_000) for number in range(1, head + 1)])
        committed = [known.committed for known in journal.load().producers]
        assert committed == ([head] if head > 100 else []), "numbers and events are of one moment"
        journal.commit(commit(chunk(head + 1, START)), 0)


def test_a_copy_of_the_files_between_two_commits_is_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        for first in range(1, 301):
            journal.commit(commit(chunk(first, FACTS[first - 1])), 0)
        (tmp_path / "copy").mkdir()
        for part in tmp_path.glob("journal*"):
            if not part.name.endswith(("-shm", ".lock")):
                shutil.copy(part, tmp_path / "copy")
        assert (tmp_path / "copy" / "journal-wal").stat().st_size > 0
    with opened(tmp_path / "copy" / "journal", recover=True) as journal:
        assert journal.set_aside is None
        assert everything(journal) == (1, FACTS)


def test_no_more_producers_are_kept_on_disk_than_are_remembered(tmp_path: Path) -> None:
    limits = LimitsSection(max_producers=50)
    worker = Worker(tmp_path, ThrottleBatchConfig(journal=bounds(), limits=limits), 0.0)

    def on_disk() -> list[str]:
        with closing(sqlite3.connect(worker.path)) as db:
            return [pid for (pid,) in db.execute("SELECT pid FROM producer ORDER BY pid")]

    for number in range(120):
        worker.wake(float(number), numbered(1, FACTS[0], pid=f"p{number:03}", channel="scan/a"))
    kept = [f"p{number:03}" for number in range(70, 120)]
    assert on_disk() == kept
    worker.wake(
        120.0, *(numbered(1, pid=f"q{number}", channel="scan/a", sign="alive") for number in range(10))
    )
    assert on_disk() == kept[10:], "signs of life push out, too, and have no row"
    worker.wake(121.0, numbered(2, FACTS[1], una=2, pid="p119", channel="scan/a"))
    worker.kill("boot", 122.0)
    assert on_disk() == kept[10:]
    released = worker.wake(123.0, numbered(2, FACTS[1], una=2, pid="p119", channel="scan/a"))
    assert released is not None
    assert [ack.committed for ack in released.feedback.acks] == [2], (
        "it is remembered, and nothing taken twice"
    )
    assert worker.batcher.counters["duplicates"] == 1
    worker.journal.close()


def test_of_more_producers_than_may_be_the_oldest_are_gone_with_the_first_commit_of_a_start(
    tmp_path: Path,
) -> None:
    many = ThrottleBatchConfig(journal=bounds())
    worker = Worker(tmp_path, many, 0.0)
    for number in range(30):
        worker.wake(float(number), numbered(1, FACTS[0], pid=f"p{number:03}", channel="scan/a"))
    worker.journal.close()
    worker = Worker(
        tmp_path, ThrottleBatchConfig(journal=bounds(), limits=LimitsSection(max_producers=10)), 40.0
    )
    worker.wake(41.0)
    worker.journal.close()
    with opened(tmp_path / "journal") as journal:
        assert sorted(known.pid for known in journal.load().producers) == [
            f"p{number:03}" for number in range(20, 30)
        ]
