"""Events by HTTP through a whole pipeline, and whatever is killed meanwhile."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.harness import PATIENCE, Pipeline
from tests.sockets.peers import answer

HOST = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
PATH = "/api/scans/demo/events"


@contextmanager
def posting(port: int, body: bytes, path: str = PATH, **headers: str) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30 * PATIENCE)) as sent:
        given = {"Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent.request("POST", path, body, given)
        yield sent


def post(pipeline: Pipeline, body: bytes, path: str = PATH, port: int = 0, **headers: str) -> tuple[int, Any]:
    with posting(port or pipeline.port, body, path, **headers) as sent:
        return answer(sent)


def kept(pipeline: Pipeline, since: str = "start") -> list[dict[str, Any]]:
    """Return the scan's events behind a position, once all that is committed is published."""
    status, page = pipeline.get(f"{PATH}?since={since}")
    assert status == 200
    return page["events"]


def published(pipeline: Pipeline, count: int) -> list[dict[str, Any]]:
    """Return the scan's events as soon as there are `count`; a frame may wait for the budget."""
    pause = threading.Event()
    for _ in range(int(500 * PATIENCE)):
        status, page = pipeline.get(f"{PATH}?since=start")
        if status == 200 and page["head"] >= count:
            events = page["events"]
            while len(events) < page["head"]:
                page = pipeline.get(f"{PATH}?since={page['next']}")[1]
                events += page["events"]
            return events
        pause.wait(0.02)
    raise AssertionError(page)


def numbered(*numbers: int) -> bytes:
    return json.dumps([{"type": "own", "number": number} for number in numbers]).encode()


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [item["number"] for item in events]


def test_what_comes_behind_the_position_is_what_follows(pipeline: Pipeline) -> None:
    pipeline.start()
    first = post(pipeline, numbered(1, 2, 3))[1]
    second = post(pipeline, numbered(4))[1]
    assert (first["seq"], second["seq"], first["epoch"]) == (3, 4, second["epoch"])
    published(pipeline, 4)
    assert numbers(kept(pipeline, first["next"])) == [4]
    assert kept(pipeline, second["next"]) == []


def test_a_key_counts_once_on_every_edge_and_over_restarts(pipeline: Pipeline) -> None:
    pipeline.start(edges=1)
    port, pipeline.port = pipeline.port, 0
    pipeline.start_edge(1)
    pipeline.wait_ready()
    answers = [post(pipeline, numbered(1, 2), Idempotency_Key="k")]
    answers.append(post(pipeline, numbered(1, 2), port=port, Idempotency_Key="k"))
    assert post(pipeline, numbered(9), Idempotency_Key="other")[1]["seq"] == 3
    for name in ("throttle-batch-0", "ingest-0", "edge-1"):
        pipeline.processes[name].close()
    pipeline.start_one("throttle-batch-0").wait_for("ready")
    pipeline.start_one("ingest-0").wait_for("ready")
    answers.append(post(pipeline, numbered(1, 2), port=port, Idempotency_Key="k"))
    assert answers == [(200, answers[0][1])] * 3
    status, said = post(pipeline, numbered(1, 2, 3), port=port, Idempotency_Key="k")
    assert (status, "nothing was taken" in said["error"]) == (422, True)
    status, said = post(pipeline, numbered(1, 2), "/api/scans/demo-2/events", port, Idempotency_Key="k")
    assert (status, said["seq"]) == (200, 2), "a key belongs to a scan"
    pipeline.port = port
    assert numbers(published(pipeline, 3)) == [1, 2, 9]


def test_a_worker_that_is_killed_in_between(pipeline: Pipeline) -> None:
    """The request waits, is sent again by the edge, and is taken once; also without a key."""
    pipeline.start()
    post(pipeline, numbered(1))
    for number, headers in ((2, {"Idempotency_Key": "k"}), (3, {})):
        worker = pipeline.processes["throttle-batch-0"]
        worker.popen.send_signal(signal.SIGSTOP)
        with posting(pipeline.port, numbered(number), **headers) as sent:
            worker.close()
            pipeline.start_one("throttle-batch-0").wait_for("ready")
            status, said = answer(sent)
        assert (status, said["seq"]) == (200, number)
    assert numbers(published(pipeline, 3)) == [1, 2, 3]


def test_kills_at_any_time_neither_lose_nor_double_what_has_a_key(pipeline: Pipeline) -> None:
    """A client that retries until it is told 200, while each stage is killed again and again."""
    pipeline.start()
    count = 60
    pause = threading.Event()
    failed: list[object] = []

    def send() -> None:
        try:
            for number in range(1, count + 1):
                while True:
                    try:
                        status, said = post(pipeline, numbered(number), Idempotency_Key=f"k{number}")
                    except (OSError, http.client.HTTPException, ValueError):  # the edge was killed
                        pause.wait(0.02)
                        continue
                    if status == 200:
                        break
                    assert status in (503, 504), said
        except BaseException as error:  # noqa: BLE001  # told by the test
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    for name in ["throttle-batch-0", "ingest-0", "edge-0"] * 3:
        pipeline.processes[name].close()
        pipeline.start_one(name).wait_for("ready")
    sender.join(100 * PATIENCE)
    assert not sender.is_alive()
    assert failed == []
    assert numbers(published(pipeline, count)) == list(range(1, count + 1))


def test_a_scan_fed_by_posts_is_no_orphan_and_ends_once(pipeline: Pipeline) -> None:
    toml = "[watchdog]\nstalled_after_s = 0.4\norphaned_after_s = 0.2\norphan_grace_s = 0.2\n"
    pipeline.start(config={"throttle-batch": toml})
    assert post(pipeline, b'[{"type":"scanStarted"},' + HOST + b"]")[1]["accepted"] == 2
    types = [item["type"] for item in published(pipeline, 3)]
    assert types == ["scanStarted", "hostDiscovered", "scanStalled"], "a stall, not an orphan"
    post(pipeline, HOST)
    ended = post(pipeline, b'{"type":"scanCompleted"}')
    assert ended[0] == 200
    status, said = post(pipeline, b'[{"type":"scanCompleted"},' + HOST + b"]")
    assert (status, said["accepted"], said["faults"][0]["item"]) == (409, 1, 1)
    assert said["faults"][0]["reason"] == "after_terminal"
    status, state = pipeline.get("/api/scans/demo")
    assert (status, state["status"]) == (200, "completed")


def test_more_than_the_scan_has_room_for_waits_and_is_taken_once(pipeline: Pipeline) -> None:
    """Bodies that fill `max_pending_bytes`: the worker takes a part, asks again, and in the end has all."""
    batch = "[batch]\nmax_pending_bytes = 262144\nmax_frame_bytes = 262144\n"
    pipeline.start(config={"throttle-batch": batch})
    large = json.dumps([{"type": "own", "number": n, "t": "x" * 6_000} for n in range(1, 101)]).encode()
    assert post(pipeline, large, Idempotency_Key="k")[1]["seq"] == 100
    assert post(pipeline, large, Idempotency_Key="k")[1]["seq"] == 100
    assert numbers(published(pipeline, 100)) == list(range(1, 101))


def test_a_scan_that_belongs_to_another(pipeline: Pipeline) -> None:
    from pipeline import Emitter

    pipeline.start()
    with Emitter("demo", run_dir=str(pipeline.run_dir), own=True) as emitter:
        emitter.emit({"type": "scanStarted"})
        emitter.flush(20 * PATIENCE)
        status, said = post(pipeline, HOST)
    assert (status, said["accepted"], said["faults"][0]["reason"]) == (409, 0, "scan_owned")
    assert "next" not in said
