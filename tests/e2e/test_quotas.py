"""Producers beyond their quotas, with everything real: what is held back comes, what is refused is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import Emitter
from pipeline.errors import NotDelivered
from tests.e2e.test_posts import post
from tests.harness import PATIENCE, Pipeline, Process, deadline, private_dir

GOOD = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
START = b'{"type":"scanStarted"}'
END = b'{"type":"scanCompleted"}'


@contextmanager
def limited(toml: str, edge: str = "") -> Iterator[Pipeline]:
    with private_dir() as place:
        pipeline = Pipeline(place, shards=2)
        try:
            pipeline.start(config={"ingest": f"[quotas]\n{toml}", "edge": edge})
            yield pipeline
        finally:
            pipeline.close()


def test_a_producer_far_beyond_its_rate_loses_nothing() -> None:
    with limited("events_per_s = 2000\nburst_s = 0.1\n") as pipeline:
        with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
            for _ in range(3_000):
                emitter.emit(GOOD)
            emitter.flush(60 * PATIENCE)
            assert emitter.rejected() == []
        _, shown = pipeline.get("/api/scans/demo")
        assert shown["seq"] == 3_000
        counted = pipeline.stop()
        assert counted["ingest-0"]["held_back{reason=rate}"] > 0
        assert counted["throttle-batch-0"]["events"] == 3_000


def test_who_waits_for_a_producer_beyond_its_rate_is_told_why() -> None:
    with limited("events_per_s = 0.001\nburst_s = 1000\n") as pipeline:
        emitter = Emitter("demo", run_dir=str(pipeline.run_dir))
        emitter.emit(GOOD)
        emitter.flush(20 * PATIENCE)
        emitter.emit(GOOD)
        why, end = "", deadline(20)
        while "takes no more a second of this producer: quotas.events_per_s" not in why:
            assert time.monotonic() < end, why
            with pytest.raises(NotDelivered) as raised:
                emitter.flush(0.1)
            why = str(raised.value)
        with pytest.raises(NotDelivered):
            emitter.close(0.0)


def test_a_scan_too_many_is_refused_and_emit_says_so(tmp_path: Path) -> None:
    with limited("max_open_scans = 1\n") as pipeline:
        run_dir = str(pipeline.run_dir)
        with Emitter(run_dir=run_dir) as emitter:
            emitter.emit(START, scan_id="one")
            emitter.emit(START, scan_id="two")
            emitter.flush(20 * PATIENCE)
            emitter.emit(GOOD, scan_id="two")
            emitter.flush(20 * PATIENCE)
            told = [(one.channel, one.pseq, one.reason) for one in emitter.rejected()]
            assert told == [("scan/two", 1, "quota"), ("scan/two", 2, "quota")]
            assert pipeline.get("/api/scans/two")[0] == 404
            emitter.emit(END, scan_id="one")
            emitter.emit(START, scan_id="three")
            emitter.flush(20 * PATIENCE)
            assert emitter.rejected() == []
        events = tmp_path / "events"
        events.write_bytes(b"\n".join(b'{"type":"scanStarted","scan_id":"%c"}' % name for name in b"ab"))
        emit = Process("emit", "--run-dir", run_dir, "--from", "ndjson", str(events))
        try:
            assert emit.wait(30) == 1
            assert "scan/b event 1: quota: 1 of this producer's scans are open" in emit.errors
        finally:
            emit.close()
        assert pipeline.get("/api/scans/a")[0] == 200


def test_what_is_posted_beyond_a_rate_is_sent_again_and_answered_504() -> None:
    toml = "events_per_s = 0.001\nburst_s = 1000\n"
    with limited(toml, edge="[http_in]\nanswer_timeout_s = 0.5\n") as pipeline:
        end = deadline(30)
        while (
            pipeline.get("/api/scans/demo")[0] != 200
        ):  # one is taken, whether it is answered in time or not
            assert time.monotonic() < end
            assert post(pipeline, START)[0] in (200, 504)
        assert post(pipeline, START)[0] == 504
        assert pipeline.stop()["ingest-0"]["held_back{reason=rate}"] > 0
