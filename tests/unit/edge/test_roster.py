"""All channels, kept up to date by what workers say has changed."""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.edge.roster import Known, Roster
from pipeline.wire import ChannelsReply, ChannelSummary, TimeLeftEntry
from tests.unit.edge.test_overview import summary


def known(roster: Roster) -> dict[str, ChannelSummary]:
    return {each.summary.channel: each.summary for each in roster.news(-1).changed}


def reply(
    shard: int, *scans: ChannelSummary, version: str = "", whole: bool = True, gone: tuple[str, ...] = ()
) -> ChannelsReply:
    return ChannelsReply(1, shard, list(scans), version, whole, list(gone))


def test_a_worker_is_asked_since_what_it_told_last() -> None:
    roster = Roster(2)
    assert [roster.since(0), roster.since(1)] == [None, None]
    roster.take([reply(0, version="b:7"), reply(1)], 1.0, complete=True)
    assert [roster.since(0), roster.since(1)] == ["b:7", None], "one that gives no version is asked for all"


def test_changes_are_applied_to_what_is_known() -> None:
    roster = Roster(2)
    a, b, c = (summary(f"scan/{name}") for name in "abc")
    roster.take([reply(0, a, b, version="b:1"), reply(1, c)], 1.0, complete=True)
    seen = roster.news(-1)
    assert (seen.whole, known(roster)) == (True, {"scan/a": a, "scan/b": b, "scan/c": c})
    more = replace(a, events=9)
    roster.take([reply(0, more, version="b:2", whole=False, gone=("scan/b", "scan/x"))], 2.0, complete=False)
    news = roster.news(seen.version)
    assert (news.whole, news.changed, news.gone, news.complete) == (
        False,
        [Known(more, 2.0)],
        ["scan/b"],
        False,
    )
    assert known(roster) == {"scan/a": more, "scan/c": c}
    assert roster.news(news.version).changed == []


def test_a_whole_takes_away_what_is_not_in_it_of_its_shard_alone() -> None:
    roster = Roster(2)
    a, b, c = (summary(f"scan/{name}") for name in "abc")
    roster.take([reply(0, a, b, version="one:5"), reply(1, c, version="w:1")], 1.0, complete=True)
    seen = roster.news(-1).version
    roster.take([reply(0, b, version="two:1")], 2.0, complete=False)  # its worker was restarted
    assert roster.news(seen).gone == ["scan/a"]
    assert set(known(roster)) == {"scan/b", "scan/c"}


def test_time_passes_for_scans_that_run() -> None:
    scan = replace(summary("scan/a", elapsed_s=2.0), time_left=TimeLeftEntry("scan", 10.0, 1.0, 20.0))
    later = Known(scan, 100.0).as_of(103.5)
    assert (later.elapsed_s, later.time_left) == (5.5, TimeLeftEntry("scan", 6.5, 0.0, 16.5))
    ended = summary("scan/a", elapsed_s=2.0, status="completed")
    assert Known(ended, 100.0).as_of(103.5) == ended
