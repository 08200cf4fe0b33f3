"""REST, the dashboard's files and health: one edge, its workers played by the test."""

from __future__ import annotations

import gzip
import http.client
import re
import socket as tcp
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from pipeline.edge.page_joining import joined
from pipeline.edge.stage import STATIC_DIR
from pipeline.shards import shard_of
from pipeline.wire import (
    ChannelsReply,
    ChannelsRequest,
    ChannelSummary,
    HostsHeader,
    HostsRequest,
    StateHeader,
    StateRequest,
    TotalsEntry,
    encode,
    encode_hosts,
)
from tests.harness import PATIENCE, Process, deadline, private_dir
from tests.sockets.peers import Edge, Peers, PlayedWorkers, answer

Start = Callable[..., tuple[Edge, PlayedWorkers]]

SUMMARY = ChannelSummary(
    channel="scan/a",
    epoch=1_700_000_000_000,
    seq=3,
    status="completed",
    phase="done",
    progress=100.0,
    started_ms=1_700_000_000_000,
    elapsed_s=2.5,
    frames=2,
    events=3,
    merged=0,
    counts={"portFound": 1},
    best_effort=False,
    event_bytes=100,
    delivered=3,
    totals=TotalsEntry(1, 2, 3, {"High": 4}),
)
OTHERS = [
    msgspec.structs.replace(SUMMARY, channel="scan/b", status="running", elapsed_s=1.5, frames=7),
    msgspec.structs.replace(SUMMARY, channel="report/r"),
]
ALL = [SUMMARY, *OTHERS]


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Edge, PlayedWorkers]]:
    """Give an edge for tests that leave no trace in it; its workers are played by the test."""
    with private_dir() as place, Peers(place) as peers:
        edge = Edge(place, shards=2)
        try:
            yield edge, PlayedWorkers(peers, 2)
        finally:
            edge.close()


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Give a function that starts an edge whose workers the test plays."""
    edges: list[Edge] = []
    with Peers(run_dir) as peers:

        def begin(toml: str = "", shards: int = 2) -> tuple[Edge, PlayedWorkers]:
            edges.append(Edge(run_dir, toml, shards))
            return edges[-1], PlayedWorkers(peers, shards)

        try:
            yield begin
        finally:
            for edge in edges:
                edge.close()


def test_statistics_in_heroforges_shape(start: Start) -> None:
    edge, workers = start()
    with edge.request("/api/scans/stats") as sent:
        workers.answer_channels(ALL)
        status, statistics = answer(sent)
    assert status == 200
    assert statistics.pop("complete") is True
    assert (statistics.pop("total_events"), statistics.pop("total_merged")) == (6, 0)
    found = {name: statistics.pop(f"total_{name}") for name in ("hosts", "open_ports", "services")}
    assert found == {"hosts": 2, "open_ports": 4, "services": 6}
    assert statistics.pop("total_vulnerabilities") == {
        "Critical": 0,
        "High": 8,
        "Medium": 0,
        "Low": 0,
        "Info": 0,
    }
    assert (statistics.pop("total_bytes"), statistics.pop("total_delivered")) == (200, 6)
    scans = {scan["scan_id"]: scan for scan in statistics.pop("scans")}
    assert statistics == {
        "total_scans": 2,
        "running_scans": 1,
        "completed_scans": 1,
        "total_messages": 9,
        "average_elapsed_time": 2.0,
    }
    assert scans == {
        "a": {"scan_id": "a", "message_count": 2, "elapsed_time": 2.5, "is_completed": True},
        "b": {"scan_id": "b", "message_count": 7, "elapsed_time": 1.5, "is_completed": False},
    }


def answer_state(workers: PlayedWorkers, *, known: bool = True) -> StateRequest | HostsRequest:
    """Answer the next question, for a state or for hosts, as a worker would."""
    shard, peer, request = workers.question()
    assert shard == shard_of(request.channel, 2)
    if isinstance(request, StateRequest):
        header = StateHeader(request.id, request.channel, *((7, 9) if known else ()))
        reply = encode(header) + b"\n" + (b'{"status":"running"}' if known else b"{}")
    else:
        assert isinstance(request, HostsRequest)
        known_header = HostsHeader(request.id, request.channel, 7, 9, 12, 20, 3)
        header = known_header if known else HostsHeader(request.id, request.channel)
        reply = encode_hosts(header, [b'{"ip":"10.0.0.5"}'] if known else [])
    workers.answer(shard, peer, reply)
    return request


def test_one_scan_is_its_state(start: Start) -> None:
    edge, workers = start()
    with edge.request("/api/scans/a") as sent:
        request = answer_state(workers)
        assert request == StateRequest(request.id, "scan/a")
        status, scan = answer(sent)
    assert (status, scan) == (
        200,
        {"scan_id": "a", "epoch": 7, "seq": 9, "kind": "scan", "cleaned_up": False, "status": "running"},
    )


def test_its_hosts_come_a_page_at_a_time(start: Start) -> None:
    edge, workers = start()
    with edge.request("/api/scans/a/hosts?after=11&limit=1") as sent:
        request = answer_state(workers)
        assert request == HostsRequest(request.id, "scan/a", None, 11, 1)
        status, page = answer(sent)
    assert (status, page) == (
        200,
        {
            "scan_id": "a",
            "epoch": 7,
            "seq": 9,
            "total": 20,
            "left_out": 3,
            "next": 12,
            "hosts": [{"ip": "10.0.0.5"}],
        },
    )
    with edge.request("/api/scans/a/hosts") as sent:
        request = answer_state(workers)
        assert (request.after, request.limit) == (0, 1_000)
        assert answer(sent)[0] == 200


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "after=1&limit=", "after="]
)
def test_a_bad_page_is_refused(standing: tuple[Edge, PlayedWorkers], query: str) -> None:
    edge, _ = standing
    status, body = edge.get(f"/api/scans/a/hosts?{query}")
    assert status == 400
    assert "a whole number from" in body["error"]


def test_the_list(start: Start) -> None:
    edge, workers = start()
    with edge.request("/api/scans") as sent:
        workers.answer_channels(ALL)
        status, listed = answer(sent)
    assert (status, listed["complete"]) == (200, True)
    assert [scan["scan_id"] for scan in listed["scans"]] == ["a", "b"]


def test_pages_that_poll_together_cost_one_question(start: Start) -> None:
    edge, workers = start()
    with ExitStack() as stack:
        paths = ("/api/scans", "/api/scans/stats", "/api/scans")
        pages = [stack.enter_context(edge.request(path)) for path in paths]
        asked = [workers.question() for _ in range(workers.shards)]
        edge.get("/healthz")
        assert workers.unasked() == []
        for shard, peer, request in asked:
            assert isinstance(request, ChannelsRequest)
            mine = [each for each in ALL if shard_of(each.channel, 2) == shard]
            workers.answer(shard, peer, encode(ChannelsReply(request.id, shard, mine)))
        assert [answer(page)[0] for page in pages] == [200, 200, 200]


def test_a_scan_that_is_not_there(start: Start) -> None:
    edge, workers = start()
    for path in ("/api/scans/none", "/api/scans/none/hosts"):
        with edge.request(path) as sent:
            answer_state(workers, known=False)
            assert answer(sent) == (404, {"error": "no such scan"})
    for path in ("/api/scans/.x", "/api/scans/.x/hosts"):
        assert edge.get(path)[0] == 404


def test_pages_that_ask_for_the_same_state_together_cost_one_question(start: Start) -> None:
    edge, workers = start()
    with ExitStack() as stack:
        pages = [stack.enter_context(edge.request("/api/scans/a")) for _ in range(5)]
        shard, peer, request = workers.question()
        edge.get("/healthz")
        assert workers.unasked() == []
        assert isinstance(request, StateRequest)
        header = StateHeader(request.id, request.channel, 7, 9)
        workers.answer(shard, peer, encode(header) + b'\n{"status":"running"}')
        assert [answer(page)[0] for page in pages] == [200] * 5


def test_a_worker_that_does_not_answer_makes_the_answer_incomplete_not_late(start: Start) -> None:
    edge, workers = start()
    with edge.request("/api/scans") as sent:
        for _ in range(2):
            shard, peer, request = workers.question()
            if shard == 0:
                workers.answer(shard, peer, encode(ChannelsReply(request.id, shard, [])))
        assert answer(sent) == (200, {"scans": [], "complete": False})
    with edge.request("/api/scans/a") as sent:
        status, problem = answer(sent)
    assert (status, list(problem)) == (503, ["error"])


def test_ready_once_every_shard_is_heard_and_not_when_one_falls_silent(start: Start) -> None:
    edge, workers = start("[upstream]\nsilent_s = 0.2\n")
    status, body = edge.get("/readyz")
    assert (status, body["silent_shards"]) == (503, [0, 1])
    assert edge.get("/healthz") == (200, {"status": "alive"})
    workers.beacon(0)
    status, body = edge.get("/readyz")
    while status == 200 or body["silent_shards"] != [0, 1]:  # one shard is not enough, and it is forgotten
        assert status == 503
        assert body["silent_shards"] in ([1], [0, 1])
        status, body = edge.get("/readyz")
    workers.beacon(0)
    workers.beacon(1)
    with edge.browser("/ws/scans/a"):
        workers.joined("scan/a")
        while edge.get("/readyz")[0] != 200:
            workers.beacon(0)
            workers.beacon(1)
        assert edge.get("/readyz") == (200, {"status": "ready", "connections": 1})


def test_not_ready_while_a_shard_cannot_write(start: Start) -> None:
    edge, workers = start("[upstream]\nsilent_s = 60\n")
    status, body = edge.get("/readyz")
    while "unwritable_shards" not in body:
        workers.beacon(1)
        workers.beacon(0, writable=False)
        status, body = edge.get("/readyz")
    assert (status, body) == (
        503,
        {
            "status": "degraded",
            "reason": "journal cannot be written: shard 0",
            "unwritable_shards": [0],
        },
    )
    while status != 200:
        workers.beacon(0)
        status, body = edge.get("/readyz")
    assert body == {"status": "ready", "connections": 0}


PATHS = [
    "/",
    "/static/app.js",
    "/api/scans",
    "/api/scans/stats",
    "/api/scans/a",
    "/healthz",
    "/readyz",
    "/no",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_for_this_machine_only(standing: tuple[Edge, PlayedWorkers], path: str) -> None:
    edge, workers = standing
    for headers in (
        {"Host": "evil.com"},
        {"Host": f"evil.com:{edge.port}"},
        {"Host": "127.0.0.1.evil.com"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
    ):
        status, body = edge.get(path, headers)
        assert status == 403
        assert "scans" not in body
    assert workers.unasked() == []


@pytest.mark.parametrize(
    "path", ["/api/scans", "/api/scans/stats", "/api/scans/a", "/healthz", "/readyz", "/no"]
)
@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://[::1", "http://localhost:1"])
def test_no_page_elsewhere_reaches_what_is_said_of_scans(
    standing: tuple[Edge, PlayedWorkers], path: str, origin: str
) -> None:
    edge, workers = standing
    status, body = edge.get(path, {"Origin": origin})
    assert (status, list(body)) == (403, ["error"])
    assert workers.unasked() == []


def test_a_page_of_a_listed_origin_may_ask_and_read_and_no_other(start: Start) -> None:
    origin = "https://app.example.org"
    edge, workers = start('[http]\norigins = ["https://app.example.org"]\n')
    with edge.request("/api/scans", headers={"Origin": origin}) as sent:
        workers.answer_channels(ALL)
        response = sent.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
    assert response.getheader("Access-Control-Allow-Origin") == origin
    assert response.getheader("Access-Control-Allow-Credentials") is None
    for path, status in (("/healthz", 200), ("/no", 404), ("/static/scanstream.js", 200)):
        with edge.request(path, headers={"Origin": origin}) as sent:
            response = sent.getresponse()
            response.read()
        assert (response.status, response.getheader("Access-Control-Allow-Origin")) == (status, origin), path
        assert "Origin" in ", ".join(response.headers.get_all("Vary") or []), path
        with edge.request(path) as sent:  # for a cache between, which must not give it to the other
            response = sent.getresponse()
            response.read()
        assert response.getheader("Access-Control-Allow-Origin") is None
        assert "Origin" in ", ".join(response.headers.get_all("Vary") or []), path
    with edge.request("/healthz", headers={"Origin": "https://evil.example"}) as sent:
        response = sent.getresponse()
        response.read()
    assert (response.status, response.getheader("Access-Control-Allow-Origin")) == (403, None)


def test_a_page_of_a_listed_origin_is_told_what_it_may_ask(start: Start) -> None:
    edge, workers = start('[http]\norigins = ["https://app.example.org"]\n')
    asked = {
        "Origin": "https://app.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    with edge.request("/api/scans/a/events", "OPTIONS", headers=asked) as sent:
        response = sent.getresponse()
        assert (response.status, response.read()) == (204, b"")
    assert "POST" in (response.getheader("Access-Control-Allow-Methods") or "").split(", ")
    allowed = (response.getheader("Access-Control-Allow-Headers") or "").lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
    for headers in ({**asked, "Origin": "https://evil.example"}, {"Origin": "https://app.example.org"}):
        with edge.request("/api/scans/a/events", "OPTIONS", headers=headers) as sent:
            response = sent.getresponse()
            response.read()
        assert response.status in {403, 405}
        assert response.getheader("Access-Control-Allow-Methods") is None
    assert workers.unasked() == []


def test_refusals_are_counted_and_do_not_fill_the_log(start: Start) -> None:
    edge, _ = start()
    for _ in range(200):
        edge.get("/healthz", {"Host": "evil.com"})
    edge.get("/healthz", {"Origin": "http://evil.com"})
    counted = edge.stop()
    assert (counted["refused{reason=host}"], counted["refused{reason=origin}"]) == (200, 1)
    refused = [line for line in edge.process.lines if line.get("fact") == "refused"]
    assert 1 <= len(refused) < 150
    assert refused[0]["problem"] == "Host 'evil.com' is not a loopback name"


def test_a_probe_that_names_no_host_is_refused_and_logged_once_a_minute(start: Start) -> None:
    edge, _ = start()
    for _ in range(5):
        with tcp.create_connection(("127.0.0.1", edge.port)) as probe:
            probe.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert probe.makefile("rb").readline().split()[1] == b"403"
    assert edge.stop()["refused{reason=host}"] == 5
    refused = [line for line in edge.process.lines if line.get("fact") == "refused"]
    assert [line["problem"] for line in refused][:1] == ["no Host header: no browser, perhaps a probe"]
    assert len(refused) <= 2


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_this_machine_has_many_names(standing: tuple[Edge, PlayedWorkers], name: str) -> None:
    edge, _ = standing
    host = f"{name}:{edge.port}"
    assert edge.get("/healthz", {"Host": host, "Origin": f"http://{host}"})[0] == 200


def test_a_request_without_a_host_is_refused(standing: tuple[Edge, PlayedWorkers]) -> None:
    edge, _ = standing
    for request in (b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"):
        with tcp.create_connection(("127.0.0.1", edge.port), timeout=10 * PATIENCE) as raw:
            raw.sendall(request)
            assert int(raw.recv(65_536).split(b" ")[1]) in {400, 403}


@pytest.mark.parametrize("path", PATHS)
def test_no_page_can_embed_or_misread_an_answer(start: Start, path: str) -> None:
    edge, workers = start()
    with edge.request(path) as sent:
        if path == "/api/scans/a":
            answer_state(workers)
        elif path.startswith("/api/"):
            workers.answer_channels(ALL)
        response = sent.getresponse()
        response.read()
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert "default-src 'none'" in (response.getheader("Content-Security-Policy") or "")
    assert "frame-ancestors 'none'" in (response.getheader("Content-Security-Policy") or "")
    assert response.getheader("Access-Control-Allow-Origin") is None
    assert response.getheader("Server") is None


@pytest.mark.parametrize(
    "path",
    ["/static/../config.py", "/static/%2e%2e/config.py", "/static//etc/passwd", "/static/none", "/static/"],
)
def test_only_the_dashboards_files_are_served(standing: tuple[Edge, PlayedWorkers], path: str) -> None:
    edge, _ = standing
    status, _ = edge.get(path)
    assert status in {403, 404}


def fetched(
    edge: Edge, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with edge.request(path, method, named) as sent:
        response = sent.getresponse()
        return response.status, response.headers, response.read()


def test_a_page_that_is_loaded_again_asks_for_nothing_but_the_page(
    standing: tuple[Edge, PlayedWorkers],
) -> None:
    edge, _ = standing
    status, headers, page = fetched(edge, "/")
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    named = re.findall(r' (?:href|src)="(static/[^"]+)"', page.decode())
    prefixes = {address.rpartition("/")[0] for address in named}
    assert len(prefixes) == 1
    assert re.fullmatch("static/[0-9a-f]{16}", prefixes.pop())
    files = joined({path.name: path.read_bytes() for path in STATIC_DIR.iterdir()})
    for address in named:
        status, headers, content = fetched(edge, f"/{address}")
        assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        assert content == files[address.rpartition("/")[2]]
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/static/app.js", f"/static/{'0' * 16}/app.js", "/static/favicon.svg"])
def test_an_address_that_stays_is_revalidated(standing: tuple[Edge, PlayedWorkers], path: str) -> None:
    edge, _ = standing
    status, headers, content = fetched(edge, path)
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    assert fetched(edge, path, If_None_Match=headers["Etag"])[::2] == (304, b"")
    assert fetched(edge, path, If_None_Match='"other"')[::2] == (200, content)


@pytest.mark.parametrize("path", ["/", "/static/app.js"])
def test_a_file_is_compressed_for_who_takes_it(standing: tuple[Edge, PlayedWorkers], path: str) -> None:
    edge, _ = standing
    _, plain, content = fetched(edge, path)
    status, headers, packed = fetched(edge, path, Accept_Encoding="br, gzip")
    assert (status, headers["Content-Encoding"], plain["Content-Encoding"]) == (200, "gzip", None)
    assert gzip.decompress(packed) == content
    assert headers["Vary"] == plain["Vary"] == "Accept-Encoding"
    assert headers["Etag"] != plain["Etag"]
    status, of_head, nothing = fetched(edge, path, "HEAD", Accept_Encoding="br, gzip")
    assert (status, nothing, of_head["Content-Length"]) == (200, b"", str(len(packed)))


def test_other_methods_are_refused_in_json(standing: tuple[Edge, PlayedWorkers]) -> None:
    edge, _ = standing
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        with edge.request("/api/scans", method) as sent:
            status, body = answer(sent)
        assert (status, list(body)) == (405, ["error"])


def test_rubbish_on_the_port_disturbs_nobody(start: Start) -> None:
    edge, _ = start()
    for rubbish in (
        b"\x00\xff\n\n",
        b"GET\r\n\r\n",
        b"A" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000,
    ):
        with tcp.create_connection(("127.0.0.1", edge.port), timeout=10 * PATIENCE) as raw:
            try:
                raw.sendall(rubbish)
                raw.recv(65_536)
            except ConnectionError:
                pass  # it may have hung up in the middle
        assert edge.get("/healthz")[0] == 200
    assert not any("traceback" in line for line in edge.process.lines)


def test_a_port_in_use_is_an_error_of_one_line(start: Start, run_dir: Path) -> None:
    edge, _ = start()
    for share in ("--share-port", "--own-port"):
        process = Process("edge", "--run-dir", str(run_dir), "--port", str(edge.port), share)
        try:
            assert process.wait() == 1
            assert process.errors == (
                f"error: cannot listen on 127.0.0.1:{edge.port}: Address already in use; "
                f"choose another with --port"
            )
        finally:
            process.close()


def test_edges_that_share_a_port(start: Start, run_dir: Path) -> None:
    shared = Edge(run_dir, shards=2, args=("--port", "0", "--share-port"))
    try:
        second = Edge(run_dir, shards=2, args=("--index", "1", "--port", str(shared.port), "--share-port"))
        try:
            assert second.port == shared.port
            assert shared.process.terminate() == 0
            assert second.get("/healthz")[0] == 200
        finally:
            second.close()
    finally:
        shared.close()


def test_another_number_of_shards_ends_the_edge_with_78(run_dir: Path) -> None:
    edge = Edge(run_dir, shards=1)
    try:
        with Peers(run_dir) as peers:
            workers = PlayedWorkers(peers, 1)
            workers.shards = 4
            end, pause = deadline(20), threading.Event()
            while edge.process.popen.poll() is None:
                assert time.monotonic() < end
                workers.beacon(0)  # one alone may be lost, if the edge has had to connect again
                pause.wait(0.05)
            assert edge.process.wait() == 78
        assert edge.process.errors == (
            "error: shard 0 is one of 4, spread by 'rendezvous-blake2b64'; "
            "this edge is set to 1 shards, spread by 'rendezvous-blake2b64'"
        )
    finally:
        edge.close()


def test_an_address_others_can_reach_is_refused_with_78(run_dir: Path) -> None:
    config = run_dir / "edge.toml"
    config.write_text('[http]\naddress = "0.0.0.0"\n')
    process = Process("edge", "--run-dir", str(run_dir), "-c", str(config))
    try:
        assert process.wait() == 78
        assert "must be a loopback address" in process.errors
        assert "\n" not in process.errors
    finally:
        process.close()
