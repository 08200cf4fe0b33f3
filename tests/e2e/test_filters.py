"""A scan through filters: whatever a reader does, it gets what it wants and is told how much it does not."""

from __future__ import annotations

import json
from collections.abc import Callable

from pipeline.event import Catalogue
from pipeline.producer.simulate import EVENTS, heroforge
from tests.e2e.native import NativeReader
from tests.e2e.watching import Watchers
from tests.harness import Pipeline, Process

CRITICAL = Catalogue().critical


def of_types(*types: str) -> Callable[[bytes], bool]:
    wanted = {*types, *CRITICAL, "lost"}
    return lambda event: json.loads(event)["type"] in wanted


def severe(event: bytes) -> bool:
    found = json.loads(event)
    return found["type"] in CRITICAL or found.get("severity") not in {"Medium", "Low", "Info"}


def at_first_host(event: bytes) -> bool:
    found = json.loads(event)
    return found["type"] in CRITICAL or found.get("ip", FIRST_HOST) == FIRST_HOST


FIRST_HOST = next(
    found["ip"] for _, event in heroforge(1, "office") if (found := json.loads(event)).get("ip") is not None
)


def test_every_filter_keeps_its_ledger_for_readers_live_late_slow_and_coming_back(pipeline: Pipeline) -> None:
    pipeline.start(config={"edge": "[heartbeat]\ninterval_s = 0.5\nclient_timeout_s = 60.0\n"})
    url = pipeline.ws("/ws/scans/office")
    filters = {
        "types=vulnerabilityFound,hostDiscovered": of_types("vulnerabilityFound", "hostDiscovered"),
        "level=summary": of_types("scanProgress", "reportPhase", "vulnerabilityFound"),
        "min_severity=High": severe,
        f"cidr={FIRST_HOST}": at_first_host,
        "types=nothing": of_types(),
    }
    sent = [event for _, event in heroforge(1, "office")]
    with Watchers() as watchers:
        readers: list[tuple[NativeReader, Callable[[bytes], bool]]] = []
        for query, passes in filters.items():
            readers += [(watchers.native(f"{url}?{query}"), passes) for _ in range(3)]
        changing = watchers.native(url)
        producer = Process(
            *("emit", "--simulate", "heroforge", "--scan", "office", "--speed", "6"),
            *("--run-dir", str(pipeline.run_dir)),
        )
        try:
            changing.wait_for(lambda reader: reader.seq > EVENTS // 4)
            for reader, _ in readers[::3]:
                reader.pause()
            changing.say('{"action":"filter","types":["vulnerabilityFound"]}')
            for reader, _ in readers[1::3]:
                reader.disconnect()
            changing.wait_for(lambda reader: reader.seq > EVENTS // 2)
            for reader, _ in readers[1::3]:
                reader.connect()
            for reader, _ in readers[::3]:
                reader.resume()
            late = [(watchers.native(f"{url}?{query}"), passes) for query, passes in filters.items()]
            assert producer.wait(60) == 0
            for reader, _ in (*readers, *late, (changing, None)):
                reader.wait_for(lambda reader: reader.seq == EVENTS)
        finally:
            producer.close()
        for reader, passes in (*readers, *late):
            reader.check_filtered(sent, passes)
        (answer,) = changing.filters
        assert EVENTS // 4 < answer.from_ <= EVENTS // 2
        only_findings = of_types("vulnerabilityFound")
        numbered = {event: seq for seq, event in enumerate(sent, 1)}
        changing.check_filtered(sent, lambda event: numbered[event] < answer.from_ or only_findings(event))
    counted = readers[0][0]
    assert counted.filtered > EVENTS // 2
