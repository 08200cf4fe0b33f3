"""Server-sent events and REST's events: real stages, read as a browser and as a script would."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from pipeline import Emitter
from tests.harness import PATIENCE, Pipeline

WAIT_S = 20 * PATIENCE


def emit(pipeline: Pipeline, first: int, count: int, *, end: bool = False) -> None:
    with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
        for number in range(first, first + count):
            emitter.emit({"type": "mine", "n": number})
        if end:
            emitter.emit({"type": "scanCompleted"})


class Stream:
    """An open stream; `next` gives (id, decoded message), comments as (None, None)."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    def next(self) -> tuple[str | None, Any]:
        mark = None
        while (line := self.response.readline()) not in (b"\n", b""):
            name, _, value = line.rstrip(b"\n").decode().partition(": ")
            if name == "id":
                mark = value
            elif name == "data":
                assert self.response.readline() == b"\n"
                return mark, json.loads(value)
        return None, None

    def messages(self, kind: str) -> Iterator[tuple[str | None, Any]]:
        while True:
            mark, message = self.next()
            if message is not None and message["type"] == kind:
                yield mark, message


@contextmanager
def stream(pipeline: Pipeline, path: str, headers: dict[str, str] | None = None) -> Iterator[Stream]:
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.port, timeout=WAIT_S)
    try:
        connection.request("GET", path, headers=headers or {})
        with connection.getresponse() as response:
            assert response.status == 200, response.read()
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert response.headers["X-Accel-Buffering"] == "no"
            yield Stream(response)
    finally:
        connection.close()


def numbers(message: Any) -> list[int]:
    return [event["n"] for event in message["events"] if "n" in event]


def test_a_stream_goes_on_from_the_last_event_id(pipeline: Pipeline) -> None:
    pipeline.start()
    emit(pipeline, 0, 10)
    with stream(pipeline, "/sse/scans/demo?since=start") as reader:
        assert reader.next()[1]["type"] == "hello"
        mark, batch = next(reader.messages("batch"))
        assert numbers(batch) == list(range(10))
        assert mark == f"{batch['epoch']}:{batch['seq'][1]}"
    emit(pipeline, 10, 5, end=True)
    with stream(pipeline, "/sse/scans/demo?since=start", {"Last-Event-ID": mark}) as reader:
        _, hello = reader.next()
        assert hello["resumed"] is True
        seen: list[int] = []
        for _, batch in reader.messages("batch"):
            seen += numbers(batch)
            if batch["events"][-1]["type"] == "scanCompleted":
                break
        assert seen == list(range(10, 15))


def test_a_quiet_stream_gets_comments_and_its_end_is_told(pipeline: Pipeline) -> None:
    pipeline.start(config={"edge": "[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 30.0\n"})
    with stream(pipeline, "/sse/scans/later?since=start") as reader:
        assert reader.next()[1]["epoch"] is None
        assert reader.next() == (None, None)
        pipeline.processes["edge-0"].popen.send_signal(signal.SIGTERM)
        _, closing = next(reader.messages("closing"))
        assert (closing["code"], closing["reconnect"]) == (4000, True)
        while reader.response.readline():
            pass  # the rest of the last part; then the answer is complete, not cut off


def test_an_old_proxy_gets_the_stream_unchunked(pipeline: Pipeline) -> None:
    pipeline.start()
    emit(pipeline, 0, 3)
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.port, timeout=WAIT_S)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    try:
        connection.request(
            "GET", "/sse/scans/demo?since=start", headers={"Host": f"127.0.0.1:{pipeline.port}"}
        )
        with connection.getresponse() as response:
            assert response.status == 200
            assert "Transfer-Encoding" not in response.headers
            assert numbers(next(Stream(response).messages("batch"))[1]) == [0, 1, 2]
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/sse/scans/stats", {}, 404),
        ("/sse/scans/a?since=1", {}, 400),
        ("/sse/scans/a", {"Last-Event-ID": "x:y"}, 400),
        ("/sse/scans/a", {"Origin": "http://evil.com"}, 403),
        ("/api/scans/a/events", {}, 404),
        ("/api/scans/a/events?since=1:x", {}, 400),
        ("/api/scans/a/events?limit=0", {}, 400),
        ("/api/scans/a/events?limit=10001", {}, 400),
        ("/api/scans/.a/events", {}, 404),
    ],
)
def test_what_cannot_be_served_is_told(
    pipeline: Pipeline, path: str, headers: dict[str, str], status: int
) -> None:
    pipeline.start()
    found, body = pipeline.get(path, headers)
    assert found == status
    assert body["error"]


def test_rest_gives_every_event_a_part_at_a_time(pipeline: Pipeline) -> None:
    pipeline.start()
    emit(pipeline, 0, 1_000, end=True)
    seen: list[int] = []
    where = ""
    while True:
        status, part = pipeline.get(f"/api/scans/demo/events?limit=7{where}")
        assert status == 200
        assert part["seq"][1] - part["seq"][0] + 1 == len(part["events"]) <= 7
        seen += numbers(part)
        if part["complete"]:
            break
        where = f"&since={part['next']}"
    assert seen == list(range(1_000))
    assert part["head"] == part["seq"][1] == 1_001
    gone = pipeline.get(f"/api/scans/demo/events?since={part['epoch'] - 1}:5&limit=1")[1]
    assert (gone["resumed"], gone["seq"]) == (False, [1, 1])
    after = pipeline.get(f"/api/scans/demo/events?since={part['next']}")[1]
    assert (after["seq"], after["events"], after["complete"]) == (None, [], True)


def test_readers_are_told_when_their_worker_is_silent(pipeline: Pipeline) -> None:
    pipeline.start(
        config={"edge": "[upstream]\nsilent_s = 1.0\n[heartbeat]\ninterval_s = 0.1\n"},
    )
    emit(pipeline, 0, 1)
    worker = pipeline.processes["throttle-batch-0"].popen
    with (
        connect(pipeline.ws("/ws/scans/demo?since=start")) as browser,
        stream(pipeline, "/sse/scans/demo?since=start") as reader,
    ):
        worker.send_signal(signal.SIGSTOP)
        try:
            assert degraded(browser) is True
            assert next(reader.messages("degraded"))[1]["degraded"] is True
            with connect(pipeline.ws("/ws/scans/demo?since=start")) as late:
                assert json.loads(late.recv(WAIT_S))["type"] == "degraded"
        finally:
            worker.send_signal(signal.SIGCONT)
        assert degraded(browser) is False
        assert next(reader.messages("degraded"))[1]["degraded"] is False


def degraded(browser: Any) -> bool:
    while True:
        message = json.loads(browser.recv(WAIT_S))
        if message["type"] == "degraded":
            return bool(message["degraded"])
