"""Past scans: the questions put to a real worker, and REST of a real edge whose workers the test plays."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline.wire import (
    DeleteReply,
    DeleteRequest,
    Document,
    HeadReply,
    HeadRequest,
    HostsHeader,
    HostsRequest,
    PastReply,
    PastRequest,
    StateHeader,
    StateRequest,
    decode_beacon,
    encode,
    encode_hosts,
)
from tests.harness import private_dir
from tests.sockets.peers import Edge, Peers, PlayedWorkers, answer, ask, counters, receive
from tests.sockets.test_worker_journal import END, START, Worker, facts, worker
from tests.unit.wire.test_past import LIFE

SOON = {"PIPELINE_CLEANUP__CLEANUP_AFTER_S": "0"}


def gone(worker: Worker, channel: str) -> None:
    """Wait until a beacon says that a channel's life is gone."""
    receive(
        worker.events,
        lambda raw: raw.startswith(b"H|") and any(name == channel for name, _ in decode_beacon(raw).gone),
    )


def past(worker: Worker, **question: object) -> list[str]:
    reply = ask(worker.questions, PastRequest(1, **question))  # type: ignore[arg-type]
    assert isinstance(reply, PastReply)
    return [life.channel for life in reply.lives]


def test_a_worker_tells_its_past_lives_and_deletes_them_also_after_a_kill(run_dir: Path) -> None:
    env = {**SOON, "PIPELINE_LIMITS__MAX_PAST_CHANNELS": "1"}
    with worker(run_dir, env=env) as running:
        epoch = _tell_and_delete(running)
        running.kill()
    with worker(run_dir, env=env) as running:
        assert past(running) == ["scan/b"]
        assert ask(running.questions, HeadRequest(7, "scan/a")) == HeadReply(7, "scan/a")
        asked = ask(running.questions, HeadRequest(8, "scan/a", epoch))
        assert isinstance(asked, HeadReply)
        assert asked.asked_held is None


def _tell_and_delete(running: Worker) -> int:
    """Delete one of two past lives; return its epoch."""
    for name in ("scan/a", "scan/b"):
        running.send(1, START, *facts(1, 3), END, channel=name)
        gone(running, name)
    running.send(1, START, channel="scan/live")
    running.acked(1, "scan/live")
    assert past(running) == ["scan/b", "scan/a"]
    assert past(running, search="B") == ["scan/b"]
    # Of scan/a nothing is kept in mind; the journal has it.
    head = ask(running.questions, HeadRequest(2, "scan/a"))
    assert isinstance(head, HeadReply)
    assert (head.seq, head.held, head.terminal, head.cleaned_up) == (5, 1, True, True)
    state = ask(running.questions, StateRequest(3, "scan/a"))
    assert isinstance(state, Document)
    assert (state.header.epoch, json.loads(state.body)["status"]) == (head.epoch, "completed")
    assert head.epoch is not None

    assert ask(running.questions, DeleteRequest(4, "scan/live")) == DeleteReply(4, "scan/live", [], "running")
    assert ask(running.questions, DeleteRequest(5, "scan/none")) == DeleteReply(5, "scan/none", [], "unknown")
    assert ask(running.questions, DeleteRequest(6, "scan/a")) == DeleteReply(6, "scan/a", [head.epoch])
    gone(running, "scan/a")
    assert counters(running.questions)["lives_deleted"] == 1
    return head.epoch


def test_in_memory_nothing_is_past_and_what_has_ended_is_deleted(run_dir: Path) -> None:
    with worker(run_dir, env={"PIPELINE_JOURNAL__KIND": "memory"}) as running:
        running.send(1, START, END)
        running.acked(2)
        assert past(running) == []
        reply = ask(running.questions, DeleteRequest(1, "scan/a"))
        assert isinstance(reply, DeleteReply)
        assert len(reply.epochs) == 1
        assert ask(running.questions, HeadRequest(2, "scan/a")) == HeadReply(2, "scan/a")


@pytest.fixture
def standing() -> Iterator[tuple[Edge, PlayedWorkers]]:
    """Give an edge, and its workers."""
    with private_dir() as place, Peers(place) as peers:
        edge = Edge(place, shards=2)
        try:
            yield edge, PlayedWorkers(peers, 2)
        finally:
            edge.close()


def test_a_list_is_asked_of_every_shard_until_it_is_full(standing: tuple[Edge, PlayedWorkers]) -> None:
    edge, workers = standing
    lives = {0: [(9, 1), (5, 2)], 1: [(7, 1), (7, 3)]}
    with edge.request("/api/scans?past=true&limit=3&search=two%20words") as sent:
        for _ in range(3):  # shard 1 has looked at many without a find, and is asked again
            shard, peer, request = workers.question()
            assert isinstance(request, PastRequest)
            assert (request.search, request.limit) == ("two words", 3)
            found = [msgspec.structs.replace(LIFE, mark=mark) for mark in lives[shard]]
            if shard == 1 and request.before is None:
                reply = PastReply(request.id, shard, [], (8, 4))
            else:
                assert request.before == (None if shard == 0 else (8, 4))
                reply = PastReply(request.id, shard, found, None)
            workers.answer(shard, peer, encode(reply))
        status, told = answer(sent)
    assert status == 200
    assert len(told["scans"]) == 3
    assert told["next"] == "7-1-1"
    with edge.request("/api/scans?past=true&after=7-1-1") as sent:
        asked = {}
        for _ in range(2):
            shard, peer, request = workers.question()
            assert isinstance(request, PastRequest)
            asked[shard] = request.before
            workers.answer(shard, peer, encode(PastReply(request.id, shard, [])))
        assert answer(sent) == (200, {"scans": [], "next": None, "complete": True})
    assert asked == {0: (7, 1 << 62), 1: (7, 1)}


def test_a_shard_that_does_not_answer_is_left_out(standing: tuple[Edge, PlayedWorkers]) -> None:
    edge, workers = standing
    with edge.request("/api/scans?past=true") as sent:
        answered = False
        while not answered:
            shard, peer, request = workers.question()
            if shard == 1:
                answered = True
                workers.answer(shard, peer, encode(PastReply(request.id, shard, [LIFE])))
        status, told = answer(sent)
    assert (status, told["complete"], [scan["scan_id"] for scan in told["scans"]]) == (200, False, ["a"])


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("past=yes", "past='yes': true or false is needed"),
        ("past=true&limit=0", "limit='0': a whole number from 1 to 1000 is needed"),
        ("past=true&after=x", "after='x': what an answer gave as `next` is needed"),
        ("past=true&search=" + "x" * 201, "search: 201 characters, at most 200 are allowed"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    standing: tuple[Edge, PlayedWorkers], query: str, problem: str
) -> None:
    assert standing[0].get(f"/api/scans?{query}") == (400, {"error": problem})


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (DeleteReply(0, "scan/a", [7, 9]), 200),
        (DeleteReply(0, "scan/a", [], "unknown"), 404),
        (DeleteReply(0, "scan/a", [], "running"), 409),
        (DeleteReply(0, "scan/a", [], "journal"), 503),
    ],
)
def test_what_a_deletion_is_answered(
    standing: tuple[Edge, PlayedWorkers], reply: DeleteReply, status: int
) -> None:
    edge, workers = standing
    with edge.request("/api/scans/a?epoch=9", "DELETE") as sent:
        shard, peer, request = workers.question()
        assert request == DeleteRequest(request.id, "scan/a", 9)
        workers.answer(shard, peer, encode(msgspec.structs.replace(reply, id=request.id)))
        found, told = answer(sent)
    assert found == status
    assert told == {"scan_id": "a", "deleted": [7, 9]} if status == 200 else set(told) == {"error"}


def test_nobody_else_has_a_scan_deleted(standing: tuple[Edge, PlayedWorkers]) -> None:
    edge, workers = standing
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ):
        with edge.request("/api/scans/a", "DELETE", headers) as sent:
            assert answer(sent)[0] == 403, headers
    with edge.request("/api/scans/a", "POST", {"X-HTTP-Method-Override": "DELETE"}) as sent:
        assert answer(sent)[0] == 405
    with edge.request("/api/scans/a", "OPTIONS", {"Access-Control-Request-Method": "DELETE"}) as sent:
        response = sent.getresponse()
        assert response.status == 405
        assert response.getheader("Access-Control-Allow-Methods") is None
    assert workers.unasked() == []


def test_a_page_of_a_listed_origin_may_have_a_scan_deleted() -> None:
    with private_dir() as run_dir, Peers(run_dir) as peers:
        edge = Edge(run_dir, '[http]\norigins = ["https://app.example.org"]\n', 2)
        workers = PlayedWorkers(peers, 2)
        try:
            headers = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
            with edge.request("/api/scans/a?epoch=9", "DELETE", headers) as sent:
                shard, peer, request = workers.question()
                workers.answer(shard, peer, encode(DeleteReply(request.id, "scan/a", [9])))
                assert answer(sent)[0] == 200
        finally:
            edge.close()


def test_an_export_of_a_scan_that_is_deleted_meanwhile_is_broken_off(
    standing: tuple[Edge, PlayedWorkers],
) -> None:
    edge, workers = standing
    with edge.request("/api/scans/a/export?format=csv") as sent:
        shard, peer, request = workers.question()
        assert isinstance(request, StateRequest)
        header = StateHeader(request.id, "scan/a", 7, 9)
        workers.answer(shard, peer, encode(header) + b'\n{"status":"completed"}')
        shard, peer, request = workers.question()
        assert isinstance(request, HostsRequest)
        assert (request.epoch, request.after) == (7, 0)
        page = HostsHeader(request.id, "scan/a", 7, 9, 1, 2)
        workers.answer(shard, peer, encode_hosts(page, [b'{"ip":"10.0.0.1"}']))
        shard, peer, request = workers.question()
        workers.answer(shard, peer, encode_hosts(HostsHeader(request.id, "scan/a"), []))
        response = sent.getresponse()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
    assert b"10.0.0.1" in broken.value.partial
    edge.process.wait_for("export broken off")
