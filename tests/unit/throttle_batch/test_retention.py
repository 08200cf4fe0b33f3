"""What a journal lets go of: by age, per channel, in all; and what it never does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import JournalError
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.wire import Ack
from tests.unit.throttle_batch.conftest import TERMINAL, fact
from tests.unit.throttle_batch.journaling import FACTS, chunk, commit, everything, keep, opened

DAY_MS = 86_400_000


def trimmed(journal: SqliteJournal, now_ms: int = 0) -> list[tuple[str, int]]:
    """Trim until nothing goes any more."""
    gone: list[tuple[str, int]] = []
    before = None
    while before != (before := (journal.counters(), len(gone))):
        gone += journal.trim(now_ms)
    return gone


def grow(
    journal: SqliteJournal, count: int, channel: str = "scan/a", size: int = 0, folded: bool = True
) -> None:
    """Add so many events, one a commit, and a checkpoint of them."""
    first = (journal.head(channel, 7) or 0) + 1
    for seq in range(first, first + count):
        journal.commit(commit(chunk(seq, fact(seq, size), channel=channel)), 0)
    if folded:
        journal.commit(commit(keep(first + count - 1, channel)), 0)


def test_a_channel_keeps_its_latest_events(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_channel_events=30) as journal:
        grow(journal, 100)
        grow(journal, 20, "scan/b")
        assert trimmed(journal) == []
        assert everything(journal) == (71, [fact(seq) for seq in range(71, 101)])
        assert everything(journal, "scan/b")[0] == 1
        assert journal.counters()["journal_trimmed_events"] == 70
        assert journal.read("scan/a", 7, 1, 100, 1)[0] == 71, "a page begins at the oldest held"
    with opened(tmp_path / "journal") as journal:
        assert everything(journal) == (71, [fact(seq) for seq in range(71, 101)])


def test_a_channel_keeps_no_more_bytes_than_it_may(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_channel_bytes=50_000) as journal:
        grow(journal, 100, size=1_000)
        trimmed(journal)
        held, events = everything(journal)
        assert 45_000 < sum(map(len, events)) <= 50_000
        assert held + len(events) == 101
        assert journal.counters()["journal_bytes"] <= 50_000


def test_in_all_the_channel_that_holds_most_lets_go(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_total_bytes=100_000) as journal:
        for channel, count in (("scan/a", 100), ("scan/b", 20), ("scan/c", 10)):
            grow(journal, count, channel, size=1_000)
        trimmed(journal)
        assert 95_000 < journal.counters()["journal_bytes"] <= 100_000
        assert [journal.held(channel, 7) == 1 for channel in ("scan/a", "scan/b", "scan/c")] == [
            False,
            True,
            True,
        ]


def test_in_all_one_that_must_keep_its_events_does_not_stop_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_total_bytes=100_000) as journal:
        grow(journal, 90, "scan/a", size=1_000, folded=False)
        grow(journal, 60, "scan/b", size=1_000)
        trimmed(journal)
        assert journal.held("scan/a", 7) == 1
        assert journal.counters()["journal_bytes"] <= 100_000


def test_what_is_not_folded_stays(tmp_path: Path) -> None:
    """A chunk that reaches past the checkpoint stays whole."""
    with opened(tmp_path / "journal", max_channel_events=1) as journal:
        for first in range(1, 51, 5):
            journal.commit(commit(chunk(first, *FACTS[first - 1 : first + 4])), 0)
        trimmed(journal)
        assert everything(journal) == (1, FACTS[:50])
        journal.commit(commit(keep(22)), 0)
        trimmed(journal)
        assert everything(journal) == (21, FACTS[20:50])
        journal.commit(commit(keep(50)), 0)
        trimmed(journal)
        assert everything(journal) == (51, []), "one row of five is more than one event"
        assert journal.head("scan/a", 7) == 50, "but how far it was stays"
    with opened(tmp_path / "journal") as journal:
        assert [(life.head, life.tail) for life in journal.load().lives] == [(50, [])]
        journal.commit(commit(chunk(51, FACTS[50])), 0)
        assert everything(journal) == (51, [FACTS[50]])


def test_no_more_lives_are_kept_than_may_be_and_the_oldest_go(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_lives=100) as journal:
        for number in range(300):
            journal.commit(
                commit(chunk(1, FACTS[0], TERMINAL, channel=f"scan/{number}", epoch=number, ends=True)),
                number,
            )
        journal.commit(commit(chunk(3, FACTS[1], channel="scan/3", epoch=3)), 1_000)
        gone = trimmed(journal, 1_000)
        assert sorted(gone) == sorted((f"scan/{number}", number) for number in range(201) if number != 3)
        assert journal.counters()["journal_lives"] == 100
        assert everything(journal, "scan/3", 3)[0] == 1
        assert trimmed(journal, 1_000) == []
        journal.commit(commit(chunk(4, FACTS[2], channel="scan/0", epoch=0)), 2_000)
        assert everything(journal, "scan/0", 0) == (4, [FACTS[2]]), "one that is in memory still goes on"
        assert trimmed(journal, 2_000) == [("scan/201", 201)]
    with opened(tmp_path / "journal", max_lives=10) as journal:
        assert len(trimmed(journal, 2_000)) == 90, "as it is after a start"


def test_a_flood_of_lives_is_kept_up_with(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", max_lives=100) as journal:
        for wake_up in range(20):
            places = [(f"scan/{wake_up}-{number}", wake_up) for number in range(500)]
            journal.commit(
                commit(*(chunk(1, FACTS[0], channel=name, epoch=epoch) for name, epoch in places)), wake_up
            )
            journal.trim(wake_up)
            assert journal.counters()["journal_lives"] <= 600


def test_what_is_old_goes_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", retention_age_s=100.0) as journal:
        journal.commit(commit(*(chunk(1, *FACTS[:5], channel=f"scan/{n}", epoch=n) for n in range(200))), 0)
        journal.commit(commit(chunk(6, FACTS[5], channel="scan/3", epoch=3)), 60_000)
        assert trimmed(journal, 100_000) == []
        gone = trimmed(journal, 100_001)
        assert sorted(gone) == sorted((f"scan/{n}", n) for n in range(200) if n != 3)
        assert journal.free("scan/4", 4), "nowhere any more"
        assert not journal.free("scan/3", 3)
        assert everything(journal, "scan/3", 3) == (1, FACTS[:6])
        assert trimmed(journal, 160_001) == [("scan/3", 3)]
        assert journal.counters() == {
            "journal_bytes": 0,
            "journal_lives": 0,
            "journal_trimmed_events": 1_001,
            "journal_failed_commits": 0,
        }
    with opened(tmp_path / "journal") as journal:
        assert journal.load().lives == []


@pytest.mark.parametrize(
    ("damage", "rest_is_sound"),
    [
        ("UPDATE chunk SET last = last + 1024 WHERE first = 4", True),
        ("UPDATE chunk SET last = last - 2 WHERE first = 4", True),
        ("DELETE FROM chunk WHERE first = 4", True),
        ("DELETE FROM chunk WHERE first >= 4", False),
        ("DELETE FROM chunk", False),
    ],
)
def test_damage_takes_nothing_along_and_does_not_stay_for_ever(
    tmp_path: Path, damage: str, rest_is_sound: bool
) -> None:
    with opened(tmp_path / "journal", max_channel_events=7, retention_age_s=60) as journal:
        for first in (1, 4, 7, 10):
            journal.commit(commit(chunk(first, *FACTS[first - 1 : first + 2])), 0)
        journal.commit(commit(keep(12)), 0)
        journal._db.execute(damage)
        assert trimmed(journal, 0) == []
        if rest_is_sound:
            assert everything(journal) == (7, FACTS[6:12])
        assert trimmed(journal, DAY_MS) == [("scan/a", 7)]


def test_a_life_that_was_too_old_may_go_on(tmp_path: Path) -> None:
    """A channel may be silent for longer than it is kept, and its worker still know it."""
    with opened(tmp_path / "journal", retention_age_s=100.0) as journal:
        journal.commit(commit(chunk(1, *FACTS[:5])), 0)
        assert trimmed(journal, 200_000) == [("scan/a", 7)]
        journal.commit(commit(keep(5)), 200_000)  # nothing to be kept of what is gone
        assert journal.head("scan/a", 7) is None
        journal.commit(commit(chunk(6, *FACTS[5:8])), 200_000)
        assert everything(journal) == (6, FACTS[5:8])
    with opened(tmp_path / "journal") as journal:
        assert [(life.head, life.tail) for life in journal.load().lives] == [(8, FACTS[5:8])]


@pytest.mark.parametrize(("age_s", "kept_ms"), [(60.0, DAY_MS), (172_800.0, 2 * DAY_MS)])
def test_producers_are_remembered_for_a_day_at_least(tmp_path: Path, age_s: float, kept_ms: int) -> None:
    with opened(tmp_path / "journal", retention_age_s=age_s) as journal:
        journal.commit(commit(*(Ack(f"p{number}", 1, "scan/a", 1) for number in range(300))), 0)
        journal.commit(commit(Ack("p7", 1, "scan/a", 2)), 1)
        for now_ms, count in ((kept_ms, 300), (kept_ms + 1, 1), (kept_ms + 2, 0)):
            for _ in range(10):
                journal.trim(now_ms)
            assert journal._db.execute("SELECT COUNT(*) FROM producer").fetchone() == (count,)


def test_it_keeps_up_with_what_is_added(tmp_path: Path) -> None:
    """Whatever the rate: one `trim` deletes more than was added since the one before."""
    with opened(tmp_path / "journal", max_channel_events=100) as journal:
        for _ in range(5):
            grow(journal, 500)
            journal.trim(0)
            held = journal.held("scan/a", 7)
            assert held is not None
            assert journal.head("scan/a", 7) - held < 100


def test_one_call_deletes_a_little(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        grow(journal, 1_000)
    with opened(tmp_path / "journal", max_channel_events=10) as journal:
        journal.trim(0)
        assert journal.held("scan/a", 7) == 65
        trimmed(journal)
        assert journal.held("scan/a", 7) == 991


def test_what_is_freed_goes_back_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        grow(journal, 500, size=4_000)
    large = path.stat().st_size
    with opened(path, max_channel_events=10) as journal:
        for _ in range(20):
            journal.trim(0)
    assert large > 2_000_000
    assert path.stat().st_size < 200_000


def test_a_trim_that_fails_tells_later_what_was_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path, retention_age_s=100.0, max_channel_events=1) as journal:
        journal.commit(commit(chunk(1, *FACTS[:5], channel="scan/old")), 0)
        journal.commit(commit(chunk(1, *FACTS[:5]), chunk(1, FACTS[0], epoch=8), keep(5)), 200_000)
        with_trigger(journal)
        with pytest.raises(JournalError, match="not now"):
            journal.trim(200_000)
        assert everything(journal) == (1, FACTS[:5])
        journal._db.execute("DROP TRIGGER refuse")
        assert journal.trim(200_000) == [("scan/old", 7)]
        assert journal.held("scan/a", 7) == 6


def with_trigger(journal: SqliteJournal) -> None:
    """Refuse to shorten the first life; deleting another one is allowed."""
    journal._db.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE OF held ON life WHEN old.channel = 'scan/a'"
        " BEGIN SELECT RAISE(ABORT, 'not now'); END"
    )


STEP = st.tuples(
    st.sampled_from("abc"), st.integers(1, 9), st.sampled_from([0, 200]), st.booleans(), st.booleans()
)


@given(
    steps=st.lists(STEP, max_size=40), max_events=st.integers(1, 40), max_bytes=st.sampled_from([500, 3_000])
)
@settings(max_examples=40)
def test_whatever_is_added_the_latest_stay(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int, bool, bool]],
    max_events: int,
    max_bytes: int,
) -> None:
    """What is held is always the end of the log, and all of it after the checkpoint."""
    logs: dict[str, list[bytes]] = {}
    folded: dict[str, int] = {}
    path = tmp_path_factory.mktemp("journal") / "journal"
    bounds = {
        "max_channel_events": max_events,
        "max_channel_bytes": max_bytes,
        "max_total_bytes": 2 * max_bytes,
    }
    journal = None
    for name, count, size, fold, reopen in steps:
        if journal is None:
            context = opened(path, **bounds)
            journal = context.__enter__()
        log = logs.setdefault(name, [])
        events = [fact(len(log) + number, size) for number in range(count)]
        journal.commit(commit(chunk(len(log) + 1, *events, channel=name)), 0)
        log += events
        if fold:
            folded[name] = len(log)
            journal.commit(commit(keep(len(log), name)), 0)
        trimmed(journal)
        for channel, sent in logs.items():
            held, got = everything(journal, channel)
            assert got == sent[held - 1 :]
            assert held <= folded.get(channel, 0) + 1
            assert len(got) <= max(max_events, len(sent) - folded.get(channel, 0) + 8)
        if reopen:
            context.__exit__(None, None, None)
            journal = None
    if journal is not None:
        context.__exit__(None, None, None)


def test_states_count_and_go_with_lives_that_have_ended_when_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path, max_total_bytes=60_000) as journal:
        for number in range(20):
            name = f"scan/{number}"
            kept = replace(keep(1, name), detail=b"x" * 5_000)
            journal.commit(commit(chunk(1, fact(1), channel=name, ends=number != 3), kept), number)
        assert journal.counters()["journal_bytes"] > 100_000
        gone = [name for name, _ in trimmed(journal)]
        assert "scan/3" not in gone, "it has not ended"
        assert gone == [f"scan/{number}" for number in range(len(gone) + 1) if number != 3]
        assert 50_000 < journal.counters()["journal_bytes"] <= 60_000
        counted = journal.counters()["journal_bytes"]
    with opened(path, max_total_bytes=60_000) as journal:
        assert journal.counters()["journal_bytes"] == counted, "as it is after a start"
