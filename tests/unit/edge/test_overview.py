"""What the stream of statistics tells: applied change by change, it is the list as it stands."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.edge.overview import Overview
from pipeline.edge.roster import Roster
from pipeline.edge.statistics import scan_entry, scan_statistics
from pipeline.wire import BrowserStats, ChannelsReply, ChannelSummary, TimeLeftEntry


def summary(name: str, events: int = 1, elapsed_s: float = 1.0, status: str = "running") -> ChannelSummary:
    return ChannelSummary(
        channel=name,
        epoch=1,
        seq=events,
        status=status,
        phase=None,
        progress=None,
        started_ms=0,
        elapsed_s=elapsed_s,
        frames=events,
        events=events,
        merged=0,
        counts={"other": events},
        best_effort=False,
    )


class Watched:
    """An overview behind a roster; where not every shard answers, the scans that are not given stay."""

    def __init__(self) -> None:
        self.overview = Overview()
        self._roster = Roster(1)
        self._seen = -1

    def take(self, scans: list[ChannelSummary], *, complete: bool) -> BrowserStats | None:
        names = {scan.channel for scan in scans}
        late = [] if complete else [each for each in self._all() if each.channel not in names]
        self._roster.take([ChannelsReply(1, 0, [*scans, *late])], 0.0, complete=complete)
        news = self._roster.news(self._seen)
        self._seen = news.version
        return self.overview.take(news, 0.0)

    def _all(self) -> list[ChannelSummary]:
        return [known.summary for known in self._roster.news(-1).changed]

    def whole(self) -> BrowserStats:
        return self.overview.whole(0.0)


def test_the_whole_is_the_document_and_the_list() -> None:
    overview = Watched()
    assert not overview.overview.known
    scans = [summary("scan/a"), summary("scan/b", status="failed")]
    overview.take([*scans, summary("report/r")], complete=True)
    assert overview.overview.known
    whole = overview.whole()
    assert (whole.whole, whole.gone) == (True, [])
    assert whole.stats == scan_statistics(scans, complete=True)
    assert whole.scans == [scan_entry(scan) for scan in scans]


def test_only_what_changed_is_told() -> None:
    overview = Watched()
    overview.take([summary("scan/a"), summary("scan/b")], complete=True)
    assert overview.take([summary("scan/a", elapsed_s=2.0), summary("scan/b")], complete=True) is None
    change = overview.take([summary("scan/a", elapsed_s=3.0), summary("scan/b", events=2)], complete=True)
    assert change is not None
    assert not change.whole
    assert change.scans == [scan_entry(summary("scan/b", events=2))]
    assert change.stats["total_events"] == 3
    assert "scans" not in change.stats


def test_an_empty_pipeline_is_told_once() -> None:
    overview = Watched()
    assert overview.take([], complete=True) is not None
    assert overview.take([], complete=True) is None


def test_a_shard_that_does_not_answer_takes_no_scan_away() -> None:
    overview = Watched()
    overview.take([summary("scan/a"), summary("scan/b")], complete=True)
    change = overview.take([summary("scan/a")], complete=False)
    assert change is not None
    assert (change.gone, change.stats["complete"], change.stats["total_scans"]) == ([], False, 2)
    assert [scan["scan_id"] for scan in overview.whole().scans] == ["a", "b"]
    assert overview.take([summary("scan/a")], complete=False) is None
    change = overview.take([summary("scan/a")], complete=True)
    assert change is not None
    assert (change.gone, change.stats["total_scans"]) == (["b"], 1)


def test_a_rate_that_falls_is_told_when_it_is_seen_to_and_at_last_as_nothing() -> None:
    overview = Watched()
    rates = [100.0, 97.0, 95.3, 95.0, 92.0, 90.0, 0.1, 0.0, 0.0]
    told = []
    for rate in rates:
        change = overview.take([replace(summary("scan/a"), events_per_s=rate)], complete=True)
        told.append(change is not None)
    assert told == [True, False, False, True, False, True, True, True, False]


def test_the_time_left_is_told_when_another_end_is_expected() -> None:
    def at(elapsed_s: float, left_s: float | None, of: str = "scan") -> ChannelSummary:
        left = None if left_s is None else TimeLeftEntry(of, left_s, left_s - 5, left_s + 5)
        return replace(summary("scan/a", elapsed_s=elapsed_s), time_left=left)

    overview = Watched()
    seen = [
        (at(10, None), True),
        (at(11, 100), True),
        (at(21, 90), False),  # time has passed, and nothing else
        (at(22, 93), False),
        (at(23, 94), True),  # six seconds later than was told
        (at(24, 93), False),
        (at(24, 93, "phase"), True),
        (at(25, None), True),
        (at(26, None), False),
    ]
    for scan, is_told in seen:
        assert (overview.take([scan], complete=True) is not None) == is_told, scan


def test_what_changes_little_by_little_is_told_in_the_end() -> None:
    overview = Watched()
    told = 0
    for step in range(100):
        scan = replace(summary("scan/a"), events_per_s=100 + step)
        told += overview.take([scan], complete=True) is not None
    assert 10 <= told <= 20


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["scan/a", "scan/b", "scan/c"]), st.integers(1, 3)),
            st.booleans(),
        ),
        min_size=1,
    )
)
def test_changes_add_up_to_the_whole(answers: list[tuple[dict[str, int], bool]]) -> None:
    overview = Watched()
    shown: dict[object, dict[str, object]] = {}
    for events, complete in answers:
        change = overview.take([summary(name, count) for name, count in events.items()], complete=complete)
        if change is not None:
            told = msgspec.json.decode(msgspec.json.encode(change))
            shown.update({scan["scan_id"]: scan for scan in told["scans"]})
            for scan_id in told["gone"]:
                del shown[scan_id]
            assert told["stats"]["total_scans"] == len(shown)
        assert shown == {scan["scan_id"]: scan for scan in overview.whole().scans}


def test_time_that_passes_is_in_the_whole_and_in_the_average() -> None:
    roster, overview = Roster(1), Overview()
    ended = summary("scan/b", status="failed", elapsed_s=8.0)
    roster.take([ChannelsReply(1, 0, [summary("scan/a", elapsed_s=2.0), ended])], 10.0, complete=True)
    change = overview.take(roster.news(-1), 14.0)
    assert change is not None
    assert change.stats["average_elapsed_time"] == 7.0
    assert [scan["elapsed_time"] for scan in overview.whole(16.0).scans] == [8.0, 8.0]
    assert overview.whole(18.0).stats["average_elapsed_time"] == 9.0
