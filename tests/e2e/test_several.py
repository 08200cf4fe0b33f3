"""Some scans and the statistics on one connection, that is lost in between."""

from __future__ import annotations

from pipeline.producer.simulate import EVENTS, heroforge
from tests.e2e.several import SeveralReader
from tests.e2e.watching import Watchers
from tests.harness import Pipeline, Process

SCANS = 4


def test_several_scans_and_the_statistics_come_whole_on_one_connection(pipeline: Pipeline) -> None:
    pipeline.start(workers=2)
    names = [f"office-{number}" for number in range(1, SCANS + 1)]
    with Watchers() as watchers:
        reader = watchers.add(SeveralReader(watchers.loop, pipeline.ws("/ws/scans")))
        for name in names:
            reader.subscribe(name)
        reader.say('{"action":"subscribe","stats":true}')
        producer = Process(
            *("emit", "--simulate", "heroforge", "--scan", "office", "--scans", str(SCANS), "--speed", "6"),
            *("--run-dir", str(pipeline.run_dir)),
        )
        try:
            reader.wait_for(lambda reader: all(scan.seq > EVENTS // 4 for scan in reader.scans.values()))
            reader.disconnect()
            reader.connect()
            for name in names:
                reader.subscribe(name)
            reader.say('{"action":"subscribe","stats":true}')
            reader.wait_for(lambda reader: all(scan.seq == EVENTS for scan in reader.scans.values()), 60)
            reader.wait_for(
                lambda reader: (
                    [reader.stats.get(name, {}).get("status") for name in names] == ["completed"] * SCANS
                )
            )
            assert producer.wait(60) == 0
        finally:
            producer.close()
        assert reader.problems == []
        for seed, name in enumerate(names, 1):
            reader.scans[name].check([event for _, event in heroforge(seed, name)])
            assert [hello.resumed for hello in reader.scans[name].hellos] == [None, True]
        assert {entry["event_count"] for entry in reader.stats.values()} == {EVENTS}
