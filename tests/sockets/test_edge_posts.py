"""Events by HTTP: one edge; the ingest and the workers are played by the test."""

from __future__ import annotations

import gzip
import http.client
import json
import socket as tcp
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from pipeline.sockets import ingest_data
from pipeline.wire import (
    Ack,
    Envelope,
    Feedback,
    Nack,
    Reached,
    Retry,
    decode_envelope,
    encode_feedback,
)
from tests.harness import PATIENCE, private_dir
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers, answer

HOST = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'
PORT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}'
PATH = "/api/scans/demo/events"


class Scene:
    """An edge, an ingest that takes what it sends, and workers that say what a test wants them to."""

    def __init__(self, place: Path, peers: Peers, toml: str = "", *, ingest: bool = True) -> None:
        self._peers = peers
        if ingest:
            self.begin_ingest()
        self.edge = Edge(place, toml)
        self.workers = PlayedWorkers(peers, 1)

    def begin_ingest(self) -> None:
        self.ingest = self._peers.bind(zmq.PULL, ingest_data(0))

    @contextmanager
    def posting(self, body: bytes, **headers: str) -> Iterator[http.client.HTTPConnection]:
        """Send a request; read its answer with `answer`, after whatever must happen before."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_S * PATIENCE)
        ) as sent:
            given = {"Content-Type": "application/json"}
            given |= {name.replace("_", "-"): value for name, value in headers.items()}
            sent.request("POST", given.pop("path", PATH), body, given)
            yield sent

    def post(self, body: bytes, **headers: str) -> tuple[int, Any]:
        """Return the answer to a request that needs no worker."""
        with self.posting(body, **headers) as sent:
            return answer(sent)

    def taken(self) -> Envelope:
        return decode_envelope(self.ingest.recv())

    def say(self, feedback: Feedback) -> None:
        self.workers.events[0].send(encode_feedback(feedback))

    def ack(self, envelope: Envelope, seq: int = 7, nacks: tuple[Nack, ...] = ()) -> None:
        header = envelope.header
        who = (header.pid, header.inc, header.channel)
        last = header.pseq + len(envelope.events) - 1
        place = Reached(*who, 5, seq, header.digest)
        self.say(Feedback([Ack(*who, last)], [], list(nacks), [place]))


Begin = Callable[..., Scene]


@pytest.fixture
def begin(run_dir: Path) -> Iterator[Begin]:
    """Give a function that sets the scene."""
    scenes: list[Scene] = []
    with Peers(run_dir) as peers:

        def begun(toml: str = "", *, ingest: bool = True) -> Scene:
            scenes.append(Scene(run_dir, peers, toml, ingest=ingest))
            return scenes[-1]

        try:
            yield begun
        finally:
            for scene in scenes:
                scene.edge.close()


# --- what is answered ---------------------------------------------------------------------------------


def test_answered_when_it_is_acked_with_the_position(begin: Begin) -> None:
    scene = begin()
    with scene.posting(b"[" + HOST + b"," + PORT + b"]") as sent:
        envelope = scene.taken()
        assert envelope.events == [HOST, PORT]
        assert envelope.header.sign == "bye"
        scene.ack(envelope)
        status, said = answer(sent)
    wanted = {"scan_id": "demo", "accepted": 2, "epoch": 5, "seq": 7, "next": "5:7"}
    assert (status, said) == (200, wanted)
    counted = scene.edge.stop()
    assert (counted["posts{status=200}"], counted["events_posted"]) == (1, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_lines(begin: Begin, packed: bool) -> None:
    scene = begin()
    body = b"\xef\xbb\xbf" + HOST + b"\r\n\r\n" + PORT + b"\n"
    headers = {"Content_Type": "application/x-ndjson; charset=utf-8"}
    if packed:
        body, headers["Content_Encoding"] = gzip.compress(body), "gzip"
    with scene.posting(body, **headers) as sent:
        envelope = scene.taken()
        assert envelope.events == [HOST, PORT]
        nack = Nack(envelope.header.pid, 0, "scan/demo", 2, "after_terminal", "it has ended")
        scene.ack(envelope, nacks=(nack,))
        status, said = answer(sent)
    assert (status, said["accepted"], said["next"]) == (409, 1, "5:7")
    assert said["faults"] == [{"line": 3, "reason": "after_terminal", "message": "it has ended"}]


def test_a_bad_event_and_nothing_is_sent(begin: Begin) -> None:
    scene = begin()
    status, said = scene.post(HOST + b"\nrubbish\n{}\n", Content_Type="application/x-ndjson")
    assert status == 400
    assert [(fault["line"], fault["reason"]) for fault in said["faults"]] == [(2, "json"), (3, "schema")]
    assert said["complete"] is True
    assert not scene.ingest.poll(0)


def test_sent_again_for_want_of_an_ack_and_when_asked_for(begin: Begin) -> None:
    scene = begin()
    with scene.posting(HOST, Idempotency_Key="k") as sent:
        first = scene.taken()
        assert scene.taken() == first
        header = first.header
        scene.say(Feedback(retries=[Retry(header.pid, 0, "scan/demo", 1, "full")]))
        assert scene.taken() == first
        scene.ack(first)
        assert answer(sent)[0] == 200
    assert scene.edge.stop()["posts_resent"] >= 2


def test_no_ingest_is_told_in_bounded_time_and_nothing_was_sent(begin: Begin) -> None:
    scene = begin(ingest=False)
    with scene.posting(HOST) as sent:
        response = sent.getresponse()
        said = json.loads(response.read())
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert "nothing was taken" in said["error"]
    scene.begin_ingest()
    with scene.posting(PORT) as sent:
        envelope = scene.taken()
        assert envelope.events == [PORT], "found though it was not there at the start"
        scene.ack(envelope)
        assert answer(sent)[0] == 200


def test_no_ack_is_told_in_bounded_time_with_what_a_retry_does(begin: Begin) -> None:
    scene = begin("[http_in]\nanswer_timeout_s = 0.5\n")
    with scene.posting(HOST, Idempotency_Key="k") as sent:
        status, said = answer(sent)
    assert (status, "takes none twice" in said["error"]) == (504, True)
    with scene.posting(HOST) as sent:
        status, said = answer(sent)
    assert (status, "may take them twice" in said["error"]) == (504, True)


def test_no_room_is_told(begin: Begin) -> None:
    scene = begin("[http_in]\nanswer_timeout_s = 0.5\n")
    with scene.posting(HOST, Idempotency_Key="k") as sent:
        header = scene.taken().header
        scene.say(Feedback(retries=[Retry(header.pid, 0, "scan/demo", 1, "max_channels")]))
        status, said = answer(sent)
    assert (status, "max_channels" in said["error"]) == (503, True)


def test_a_key_that_stands_for_other_events(begin: Begin) -> None:
    scene = begin()
    with scene.posting(HOST, Idempotency_Key="k") as sent:
        header = scene.taken().header
        nack = Nack(header.pid, 0, "scan/demo", 1, "key_reused", f"digest {header.digest}: x")
        assert scene.post(PORT, Idempotency_Key="k")[0] == 422, "while it is under way"
        with scene.posting(HOST, Idempotency_Key="k") as again:
            scene.say(Feedback(nacks=[nack]))
            assert answer(sent)[0] == 422
            # It shared the answer, or came after it and is another attempt.
            scene.say(Feedback(nacks=[nack]))
            if not _answered(again):
                scene.taken()
                scene.say(Feedback(nacks=[nack]))
            assert answer(again)[0] == 422


def _answered(sent: http.client.HTTPConnection) -> bool:
    assert sent.sock is not None
    sent.sock.settimeout(0.3 * PATIENCE)
    try:
        return bool(sent.sock.recv(1, tcp.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        sent.sock.settimeout(WAIT_S * PATIENCE)


def test_an_edge_that_stops_answers_what_is_under_way(begin: Begin) -> None:
    scene = begin()
    with scene.posting(HOST) as sent:
        envelope = scene.taken()
        scene.edge.process.popen.terminate()
        scene.edge.process.wait_for("draining")
        scene.ack(envelope)
        assert answer(sent)[0] == 200


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Encoding": "br"}, 415),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "elsewhere.example"}, 403),
        ({"X_Forwarded_For": "192.0.2.1"}, 403),
        ({"path": "/api/scans/stats/events"}, 404),
        ({"path": "/api/scans/demo/hosts"}, 405),
        ({"Idempotency_Key": "x" * 256}, 400),
        ({"Idempotency_Key": "a\tb"}, 400),
    ],
)
def test_requests_that_are_refused(standing: Scene, headers: dict[str, str], status: int) -> None:
    assert standing.post(HOST, **headers)[0] == status
    assert not standing.ingest.poll(0)


@pytest.fixture(scope="module")
def standing() -> Iterator[Scene]:
    """Give a scene for tests that leave no trace in it."""
    with private_dir() as place, Peers(place) as peers:
        scene = Scene(place, peers)
        try:
            yield scene
        finally:
            scene.edge.close()


def test_bodies_that_are_too_large(standing: Scene) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert standing.post(bomb, Content_Encoding="gzip")[0] == 413
    assert standing.post(b" " * 4_000_000)[0] == 413, "and the answer is read, though all of it was sent"
    lines = b"\n".join([HOST] * 4_097)
    assert standing.post(lines, Content_Type="application/x-ndjson")[0] == 413


def test_a_body_in_chunks_that_grows_too_large(standing: Scene) -> None:
    with closing(
        http.client.HTTPConnection("127.0.0.1", standing.edge.port, timeout=WAIT_S * PATIENCE)
    ) as sent:
        sent.request("POST", PATH, iter([b" " * 100_000] * 20), {"Content-Type": "application/json"})
        assert answer(sent)[0] == 413


def test_who_asks_first_is_told_before_the_body(standing: Scene) -> None:
    with closing(tcp.create_connection(("127.0.0.1", standing.edge.port), WAIT_S * PATIENCE)) as sent:
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{standing.edge.port}\r\nContent-Length: 9000000\r\n"
            "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
        )
        sent.sendall(head.encode())
        assert sent.recv(100).startswith(b"HTTP/1.1 413 ")


def test_reading_is_as_it_was(standing: Scene) -> None:
    assert standing.edge.get("/api/scans/stats/events")[0] == 404
    with standing.edge.request(PATH, "PUT") as sent:
        assert answer(sent)[0] == 405


def test_an_edge_that_takes_none(begin: Begin) -> None:
    scene = begin("[http_in]\nenabled = false\n")
    assert scene.post(HOST)[0] == 405


def test_an_address_that_posts_too_fast(begin: Begin) -> None:
    scene = begin("[http_in]\nrequests_per_s = 0.01\nrequest_burst = 2\n")
    assert [scene.post(b"rubbish")[0] for _ in range(3)] == [400, 400, 429]


def test_more_than_the_edge_may_hold(begin: Begin) -> None:
    scene = begin("[http_in]\nmax_total_bytes = 1000000\n")
    large = b"[" + b",".join([HOST] * 2_000) + b"," + b'{"type":"x","t":"' + b"y" * 60_000 + b'"}]'
    body = large + b" " * (700_000 - len(large))
    with scene.posting(body) as sent:
        envelope = scene.taken()
        assert scene.post(body)[0] == 503
        scene.ack(envelope)
        assert answer(sent)[0] == 200
    with scene.posting(body) as sent:
        scene.ack(scene.taken())
        assert answer(sent)[0] == 200, "there is room again"


def test_a_sender_that_does_not_wait_for_the_answer_leaves_no_bytes(begin: Begin) -> None:
    scene = begin("[http_in]\nmax_total_bytes = 1000000\n")
    with scene.posting(HOST + b" " * 900_000):
        envelope = scene.taken()
    assert scene.post(HOST + b" " * 900_000)[0] == 503, "its events are sent for all that"
    scene.ack(envelope)
    with scene.posting(PORT) as sent:
        again = scene.taken()
        scene.ack(again)
        assert answer(sent)[0] == 200
    with scene.posting(HOST + b" " * 900_000) as sent:
        scene.ack(scene.taken())
        assert answer(sent)[0] == 200


def test_a_sender_that_goes_in_the_middle_leaves_no_bytes(begin: Begin) -> None:
    scene = begin("[http_in]\nmax_total_bytes = 1000000\n")
    for _ in range(3):
        with closing(tcp.create_connection(("127.0.0.1", scene.edge.port), WAIT_S * PATIENCE)) as sent:
            head = (
                f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{scene.edge.port}\r\nContent-Length: 900000\r\n"
                "Content-Type: application/json\r\n\r\n"
            )
            sent.sendall(head.encode() + b" " * 600_000)
            sent.shutdown(tcp.SHUT_WR)
            assert sent.recv(1) == b"", "the edge has seen it go"
    with scene.posting(HOST + b" " * 900_000) as sent:
        scene.ack(scene.taken())
        assert answer(sent)[0] == 200


@pytest.mark.parametrize("digits", [16, 5_000])
def test_a_length_that_no_body_has_is_refused_whatever_its_digits(begin: Begin, digits: int) -> None:
    scene = begin()
    with closing(tcp.create_connection(("127.0.0.1", scene.edge.port), timeout=WAIT_S * PATIENCE)) as sent:
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        sent.sendall(f"{head}Content-Length: {'9' * digits}\r\n\r\n{{}}".encode())
        told = b""
        while more := sent.recv(65_536):
            told += more
    assert told.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), told[:200]
    assert scene.edge.get("/healthz")[0] == 200
    scene.edge.stop()
    assert not [line for line in scene.edge.process.lines if line.get("level") == "error"]
