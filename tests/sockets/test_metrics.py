"""`/metrics` of every stage, scraped while a scan runs, and read by Prometheus' own parser."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from pipeline import Emitter
from pipeline.metrics import HISTOGRAMS, TEXTS, metric_name
from tests.harness import PATIENCE, Pipeline, Process, deadline, free_port, private_dir

STAGES = {"ingest-0": "ingest", "throttle-batch-0": "throttle-batch", "edge-0": "edge"}
LABELS = {"shard", "reason", "socket", "sign", "type", "wire", "pace", "code", "result", "le"}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def url(process: Process) -> str:
    """Return where a stage says that its metrics are."""
    [ready] = [line for line in process.lines if line.get("fact") == "ready"]
    return str(ready["metrics"])


def scrape(process: Process) -> str:
    with urllib.request.urlopen(url(process), timeout=10 * PATIENCE) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        return str(response.read().decode())


def samples(process: Process) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(scrape(process)):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    """Return the sum over what has this name and these labels."""
    return sum(
        value
        for (known, pairs), value in found.items()
        if known == name and labels.items() <= dict(pairs).items()
    )


@pytest.fixture(scope="module")
def busy() -> Iterator[Pipeline]:
    """A pipeline through which a scan has passed, with a reader that is still there."""
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start()
            with (
                connect(pipeline.ws("/ws/scans/demo?since=start")) as reader,
                Emitter("demo", run_dir=str(pipeline.run_dir)) as one,
            ):
                one.emit({"type": "scanStarted"})
                for _ in range(9):
                    one.emit({"type": "custom"})
                one.emit(b'{"type":"portFound"}')
                one.flush(20 * PATIENCE)
                seen = 0
                while seen < 10:
                    seen += len(json.loads(reader.recv(20 * PATIENCE)).get("events", []))
                yield pipeline
        finally:
            pipeline.close()


def test_an_ingest_tells_what_came_and_what_was_rejected(busy: Pipeline) -> None:
    found = samples(busy.processes["ingest-0"])
    assert total(found, "pipeline_ingest_events_total") == 10
    assert total(found, "pipeline_ingest_rejected_total", reason="schema") == 1
    assert total(found, "pipeline_ingest_producers_known") == 1
    assert total(found, "pipeline_ingest_ack_seconds_count") >= 1
    assert total(found, "pipeline_ingest_wakeup_seconds_count") >= 1


def test_a_worker_tells_what_it_committed_and_published_of_each_shard(busy: Pipeline) -> None:
    found = samples(busy.processes["throttle-batch-0"])
    assert total(found, "pipeline_throttle_batch_events_total") == 10
    assert total(found, "pipeline_throttle_batch_frames_total") >= 1
    assert total(found, "pipeline_throttle_batch_acks_total") >= 1
    assert total(found, "pipeline_throttle_batch_writable") == busy.shards
    assert total(found, "pipeline_throttle_batch_commit_seconds_count") >= 1
    published = total(found, "pipeline_throttle_batch_publish_seconds_count")
    assert published == total(found, "pipeline_throttle_batch_frames_total")
    shards = {dict(pairs).get("shard") for name, pairs in found if name == "pipeline_throttle_batch_writable"}
    assert shards == {str(shard) for shard in range(busy.shards)}


def test_an_edge_tells_its_readers_and_how_long_events_were_under_way(busy: Pipeline) -> None:
    end = deadline(30)
    while not total(found := samples(busy.processes["edge-0"]), "pipeline_edge_loop_delay_seconds_count"):
        assert time.monotonic() < end, "the loop's delay is measured again and again"
    assert total(found, "pipeline_edge_readers", wire="native") == 1
    assert total(found, "pipeline_edge_connections_open") == 1
    assert total(found, "pipeline_edge_frames_total") >= 1
    assert total(found, "pipeline_edge_write_seconds_count") >= 1
    took_s = total(found, "pipeline_edge_write_seconds_sum")
    assert 0 < took_s < 60 * PATIENCE, "both ends are on the machine's one clock"


@pytest.mark.parametrize(("name", "stage"), STAGES.items())
def test_what_is_told_is_declared_and_names_nobody(busy: Pipeline, name: str, stage: str) -> None:
    text = scrape(busy.processes[name])
    declared = {metric_name(stage, base) for base in [*TEXTS[stage], *HISTOGRAMS[stage]]}
    told = [family for family in text_string_to_metric_families(text) if family.name.startswith("pipeline_")]
    assert {family.name for family in told} - declared == {"pipeline_build_info"}
    assert all(family.documentation for family in told)
    for family in told:
        if family.name == "pipeline_build_info":
            continue
        assert family.type != "gauge" or not family.name.endswith("_total")
        for sample in family.samples:
            assert set(sample.labels) <= LABELS
            assert family.type != "counter" or sample.name.endswith("_total")
    assert "demo" not in text


def test_a_port_that_is_taken_stops_nobody(pipeline: Pipeline) -> None:
    names = list(STAGES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in names:
            process = Process(*pipeline.arguments(name), env={"PIPELINE_METRICS__PORT": str(port)})
            pipeline.processes[name] = process
            told = process.wait_for("metrics cannot be served")
            assert (told["address"], told["problem"]) == (f"127.0.0.1:{port}", "Address already in use")
            assert process.wait_for("ready")["metrics"] == ""
        counted = pipeline.stop()
    assert [counted[name]["metrics_failed"] for name in names] == [1, 1, 1]


def test_several_of_a_stage_count_up_from_the_port(pipeline: Pipeline) -> None:
    base = free_port(2)
    for index in range(2):
        name = f"ingest-{index}"
        process = Process(*pipeline.arguments(name), env={"PIPELINE_METRICS__PORT": str(base)})
        pipeline.processes[name] = process
        assert process.wait_for("ready")["metrics"] == f"http://127.0.0.1:{base + index}/metrics"
        assert "pipeline_build_info" in scrape(process)


def test_an_address_may_be_one_of_ipv6(pipeline: Pipeline) -> None:
    process = pipeline.start_one("ingest-0", config={"ingest": '[metrics]\naddress = "::1"\n'})
    ready = process.wait_for("ready")["metrics"]
    if not ready:
        assert any(line.get("fact") == "metrics cannot be served" for line in process.lines)
        pytest.skip("no IPv6 here")
    assert ready.startswith("http://[::1]:")
    assert "pipeline_build_info" in scrape(process)


def test_metrics_can_be_left_out(pipeline: Pipeline) -> None:
    process = pipeline.start_one("ingest-0", config={"ingest": "[metrics]\nenabled = false\n"})
    assert process.wait_for("ready")["metrics"] == ""


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/metrics", "evil.example", 403), ("/", "127.0.0.1", 404), ("/metrics", "localhost:1", 200)],
)
def test_a_page_elsewhere_reads_nothing(busy: Pipeline, path: str, host: str, status: int) -> None:
    address = url(busy.processes["ingest-0"]).removesuffix("/metrics")
    request = urllib.request.Request(address + path, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10 * PATIENCE) as response:
            answered = response.status
    except urllib.error.HTTPError as error:
        with error:
            answered = error.code
    assert answered == status


def test_a_scraper_that_says_nothing_holds_up_no_other(busy: Pipeline) -> None:
    process = busy.processes["edge-0"]
    port = int(url(process).split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        assert samples(process)
