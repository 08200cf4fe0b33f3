"""The door of an edge: TLS, a path of its own, proxies, and clients that do not finish what they begin."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.harness import PATIENCE, Process, next_sent, private_dir
from tests.sockets.peers import WAIT_S, Edge, Peers, PlayedWorkers, RawBrowser
from tests.sockets.test_edge_websocket import answer_head, answer_one, publish, told
from tests.unit.edge.worker_model import Worker

Start = Callable[..., tuple[Edge, PlayedWorkers]]
PUBLIC = "scans.example.org"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(run_dir: Path) -> Iterator[Start]:
    """Give a function that starts an edge whose workers the test plays."""
    with Peers(run_dir) as peers, ExitStack() as stack:

        def begin(toml: str = "") -> tuple[Edge, PlayedWorkers]:
            edge = Edge(run_dir, toml)
            stack.callback(edge.close)
            return edge, PlayedWorkers(peers, 1)

        yield begin


def silent(edge: Edge, data: bytes) -> socket.socket:
    """Return a connection that has sent this, and will send no more."""
    connection = socket.create_connection(("127.0.0.1", edge.port), timeout=WAIT_S * PATIENCE)
    connection.sendall(data)
    return connection


def ended(connection: socket.socket) -> bytes:
    """Wait until the edge ends a connection; return what it sent."""
    got = b""
    try:
        while more := connection.recv(65_536):
            got += more
    except ConnectionResetError:
        pass
    return got


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate() -> Iterator[tuple[Path, Path]]:
    """Give a certificate for localhost that signs itself, and its key."""
    with private_dir() as place:
        command = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", "key.pem", "-out", "certificate.pem", "-days", "1", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ]  # fmt: skip
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        yield place / "certificate.pem", place / "key.pem"


@pytest.mark.system
def test_with_a_certificate_it_speaks_https_and_wss(start: Start, certificate: tuple[Path, Path]) -> None:
    edge, workers = start(f'[http]\ncertificate = "{certificate[0]}"\nkey = "{certificate[1]}"\n')
    assert edge.process.lines[-1]["edge"] == f"https://127.0.0.1:{edge.port}/"
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with closing(http.client.HTTPSConnection("localhost", edge.port, context=context)) as client:
        client.request("GET", "/healthz", headers={"Origin": f"https://localhost:{edge.port}"})
        assert client.getresponse().status == 200
    model = Worker(page_events=100)
    model.publish(5)
    address = f"wss://localhost:{edge.port}/ws/scans/demo?since=start"
    with connect(address, ssl=context, origin=f"https://localhost:{edge.port}", compression=None) as browser:  # type: ignore[arg-type]
        answer_one(workers, model)
        assert told(browser)["type"] == "hello"
        answer_one(workers, model)
        assert told(browser)["seq"] == [1, 5]
    with closing(http.client.HTTPSConnection("localhost", edge.port, context=context)) as stream:
        stream.request("GET", "/sse/scans/demo?since=start")
        answer_one(workers, model)
        response = stream.getresponse()
        assert next_sent(response)["type"] == "hello"
    with closing(silent(edge, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")) as plain:
        ended(plain)  # one that speaks http to it is cut off
    with closing(silent(edge, b"")) as handshake, closing(silent(edge, b"\x16\x03\x01")) as half:
        assert edge.stop()["connections{wire=native}"] == 1
        assert ended(handshake) == ended(half) == b""


@pytest.mark.system
def test_a_connection_with_tls_is_heard_given_what_comes_and_closed_as_any(
    start: Start, certificate: tuple[Path, Path]
) -> None:
    edge, workers = start(f'[http]\ncertificate = "{certificate[0]}"\nkey = "{certificate[1]}"\n')
    context = ssl.create_default_context(cafile=str(certificate[0]))
    model = Worker(page_events=100)
    model.publish(5)
    address = f"wss://localhost:{edge.port}/ws/scans/demo?since=start"
    with connect(address, ssl=context, compression=None) as browser:
        answer_one(workers, model)
        assert told(browser)["type"] == "hello"
        answer_one(workers, model)
        assert told(browser)["seq"] == [1, 5]
        assert browser.ping().wait(WAIT_S * PATIENCE)
        publish(workers, model, 1)
        assert told(browser)["seq"] == [6, 6]
        browser.send(b"binary")
        assert told(browser)["type"] == "closing"
        with pytest.raises(ConnectionClosedError) as ended_by:
            browser.recv(WAIT_S * PATIENCE)
        assert ended_by.value.rcvd is not None
        assert (ended_by.value.rcvd.code, ended_by.value.rcvd.reason) == (1003, "text messages only")
    assert edge.process.wait_for("disconnected")["code"] == 1003
    with connect(address, ssl=context, compression=None) as browser:
        answer_one(workers, model)
        assert told(browser)["type"] == "hello"
        browser.close(1001)
    assert edge.process.wait_for("disconnected")["code"] == 1001


@pytest.mark.parametrize("wrong", ["missing", "no certificate", "another key", "unreadable", "pass phrase"])
def test_files_that_are_no_use_are_told_in_one_line(
    run_dir: Path, certificate: tuple[Path, Path], wrong: str
) -> None:
    good, key = certificate
    if wrong == "missing":
        good = run_dir / "nowhere.pem"
    elif wrong == "unreadable":
        good = run_dir
    elif wrong == "no certificate":
        good = run_dir / "text.pem"
        good.write_text("hello\n")
    else:
        key = run_dir / "other.pem"
        secret = ["-aes256", "-passout", "pass:secret"] if wrong == "pass phrase" else []
        subprocess.run(
            ["openssl", "genrsa", "-out", str(key), *secret, "2048"], check=True, capture_output=True
        )
    config = run_dir / "edge.toml"
    config.write_text(f'[http]\ncertificate = "{good}"\nkey = "{key}"\n')
    process = Process("edge", "--run-dir", str(run_dir), "--port", "0", "-c", str(config))
    try:
        assert process.wait() == 78
        assert process.errors.count("\n") == 0
        assert str(good) in process.errors
    finally:
        process.close()


# --- a path of its own --------------------------------------------------------------------------------


def test_everything_is_below_its_path(start: Start) -> None:
    edge, workers = start('[http]\nbase_path = "/tools/scans/"\n')
    assert edge.process.lines[-1]["edge"] == f"http://127.0.0.1:{edge.port}/tools/scans/"
    assert edge.get("/tools/scans/healthz")[0] == 200
    assert edge.get("/healthz")[0] == 200  # who looks after the process need not know the path
    assert edge.get("/readyz")[0] in (200, 503)
    status, page = edge.get("/tools/scans/")
    assert status == 200
    assert "<title>scanstream</title>" in page
    assert edge.get("/tools/scans/static/app.js")[0] == 200
    for elsewhere in ("/", "/static/app.js", "/api/scans", "/ws/scans/demo", "/tools/", "/toolsXscans/"):
        assert edge.get(elsewhere)[0] == 404
    with edge.request("/tools/scans") as sent:
        response = sent.getresponse()
        assert (response.status, response.headers["Location"]) == (301, "/tools/scans/")
    with edge.browser("/tools/scans/ws/scans/demo?since=start") as browser:
        answer_one(workers, Worker())
        assert told(browser)["type"] == "hello"


# --- behind a proxy -----------------------------------------------------------------------------------


BEHIND = f'[http]\nhosts = ["{PUBLIC}"]\ntrusted_proxies = ["127.0.0.1"]\n'


def test_who_comes_through_a_trusted_proxy_is_counted_by_the_own_address(start: Start) -> None:
    edge, workers = start(BEHIND + "[limits]\nmax_connections_per_address = 1\n")
    assert edge.process.lines[-2]["fact"] == "a proxy lets others in, and there are no accounts"
    sent = {"Host": PUBLIC, "X-Forwarded-Proto": "https", "Origin": f"https://{PUBLIC}"}
    with ExitStack() as stack:

        def come(address: str) -> RawBrowser:
            headers = {**sent, "X-Forwarded-For": address}
            return stack.enter_context(edge.raw("/ws/scans/demo", headers))

        for address in ("203.0.113.7", "203.0.113.8", "6.6.6.6, 203.0.113.9"):
            first = come(address)
            answer_head(workers, Worker())
            frame = first.frame()
            assert frame is not None
            assert json.loads(frame[1])["type"] == "hello"
        assert come("203.0.113.7").until_close() == ([], 4029, "too many connections")
        assert come("7.7.7.7, 203.0.113.9").until_close() == ([], 4029, "too many connections")
        status, answer = edge.get("/api/connections")
        assert status == 200
        assert [each["address"] for each in answer["connections"]] == [
            "203.0.113.7", "203.0.113.8", "203.0.113.9",
        ]  # fmt: skip


def test_through_a_proxy_only_its_own_pages_and_names(start: Start) -> None:
    edge, _ = start(BEHIND)
    through = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert edge.get("/healthz", {"Host": PUBLIC, **through})[0] == 200
    assert edge.get("/healthz", {"Host": "evil.example", **through})[0] == 403
    assert edge.get("/healthz", {"Host": "localhost", **through})[0] == 403
    assert edge.get("/healthz", {"Host": PUBLIC, "X-Forwarded-Proto": "https"})[0] == 403
    assert edge.get("/static/app.js", {"Host": "evil.example", **through})[0] == 403
    foreign = {"Host": PUBLIC, "Origin": f"http://{PUBLIC}", **through}
    assert edge.get("/healthz", foreign)[0] == 403
    with edge.raw("/ws/scans/demo", foreign) as browser:
        assert browser.until_close() == ([], 4403, "origin not allowed")


# --- clients that do not finish -----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"GET ", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_client_that_does_not_send_its_request_is_cut_off(start: Start, data: bytes) -> None:
    edge, _ = start("[requests]\nheader_timeout_s = 0.2\n")
    with closing(silent(edge, data)) as slow:
        assert ended(slow) == b""
    assert edge.get("/healthz")[0] == 200
    assert edge.stop()["cut_off{reason=headers}"] == 1


def test_a_client_that_waits_between_requests_is_not_cut_off_until_it_idles(start: Start) -> None:
    edge, _ = start("[requests]\nheader_timeout_s = 0.1\nidle_timeout_s = 0.6\n")
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with closing(silent(edge, request)) as client, closing(silent(edge, b"GET")) as slow:
        ended(slow)  # the sweep has passed
        client.sendall(request)
        assert ended(client).count(b"200 OK") == 2
    assert edge.stop()["cut_off{reason=headers}"] == 1


def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    edge, _ = start("[requests]\nbody_timeout_s = 0.2\n")
    request = b"POST /api/scans HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    with closing(silent(edge, request)) as slow:
        ended(slow)


def test_headers_above_the_bound_end_the_connection(start: Start) -> None:
    edge, _ = start()
    with closing(silent(edge, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 20_000)) as client:
        assert b"200" not in ended(client)


def test_of_too_many_that_do_not_finish_the_oldest_go(start: Start) -> None:
    edge, _ = start("[requests]\nmax_unfinished = 5\n")
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(silent(edge, b"GET "))) for _ in range(8)]
        for oldest in slow[:3]:
            ended(oldest)
        assert edge.get("/healthz")[0] == 200  # one more, and so the fourth goes
        ended(slow[3])
        for one in slow[4:]:
            one.sendall(b"/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in ended(one)
    assert edge.stop()["cut_off{reason=unfinished}"] == 4


SMALL = "[limits]\nkernel_buffer_bytes = 4096\n"
"""Little of an answer is with the kernel: the rest waits in the edge until it is taken."""
LARGE = 130_000
"""Bytes that the answer below has at least."""


def one_that_does_not_read(edge: Edge, workers: PlayedWorkers) -> socket.socket:
    """Return a connection that has asked for many events, and takes nothing of them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(WAIT_S * PATIENCE)
    connection.connect(("127.0.0.1", edge.port))
    connection.sendall(b"GET /api/scans/demo/events?limit=4000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    model = Worker(page_events=4_000)
    model.publish(4_000)
    answer_one(workers, model)
    answer_one(workers, model)
    return connection


def test_an_answer_that_is_not_taken_is_cut_off(start: Start) -> None:
    edge, workers = start(SMALL + "[requests]\nanswer_stalled_s = 0.3\n")
    with closing(one_that_does_not_read(edge, workers)) as slow:
        edge.wait_for("cut_off{reason=stalled}", 1)
        assert 0 < len(ended(slow)) < LARGE
    assert edge.get("/healthz")[0] == 200


def test_of_many_answers_that_are_not_taken_the_oldest_go(start: Start) -> None:
    edge, workers = start(SMALL + "[requests]\nanswer_stalled_s = 3600\nmax_untaken_bytes = 300000\n")
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(one_that_does_not_read(edge, workers))) for _ in range(5)]
        edge.wait_for("cut_off{reason=untaken}", 1)
        assert 0 < len(ended(slow[0])) < LARGE
        slow[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert len(ended(slow[-1])) > LARGE, "the last one gets all of it"


def test_a_stream_of_events_goes_by_its_own_rules(start: Start) -> None:
    edge, workers = start(
        SMALL + "stalled_s = 3600\nmax_lag_s = 3600\n[requests]\nanswer_stalled_s = 0.1\n"
        "[heartbeat]\ninterval_s = 0.05\nclient_timeout_s = 3600\n"
    )
    with ExitStack() as stack:
        reader = stack.enter_context(closing(socket.socket()))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.settimeout(WAIT_S * PATIENCE)
        reader.connect(("127.0.0.1", edge.port))
        reader.sendall(b"GET /sse/scans/demo?since=start HTTP/1.1\r\nHost: localhost\r\n\r\n")
        model = Worker(page_events=20_000)
        model.publish(4_000)
        answer_one(workers, model)
        answer_one(workers, model)
        plain = stack.enter_context(closing(one_that_does_not_read(edge, workers)))
        edge.wait_for("cut_off{reason=stalled}", 1)
        ended(plain)
        got = b""
        while b'"seq":[1,4000]' not in got:
            more = reader.recv(65_536)
            assert more, "the stream was cut off"
            got += more
    assert edge.stop()["cut_off{reason=stalled}"] == 1


def test_of_too_many_that_wait_for_their_next_request_the_oldest_go(start: Start) -> None:
    edge, _ = start("[requests]\nmax_idle = 3\nidle_timeout_s = 3600\n")
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(silent(edge, request))) for _ in range(5)]
        for oldest in idle[:2]:
            assert ended(oldest).count(b"200 OK") == 1
        for one in idle[2:]:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert ended(one).count(b"200 OK") == 2
    assert edge.stop()["cut_off{reason=idle}"] == 2


def test_an_address_that_opens_too_fast_is_told_when_to_come_back(start: Start) -> None:
    edge, workers = start("[requests]\nconnects_per_s = 0.1\nconnect_burst = 2\n")
    with edge.raw("/ws/scans/demo") as first:
        answer_one(workers, Worker())
        assert first.status == 101
        with edge.request("/sse/scans/demo") as stream:
            answer_one(workers, Worker())
            assert stream.getresponse().status == 200
            with edge.raw("/ws/scans/demo") as third:
                assert third.status == 429
                assert 1 <= int(third.head.lower().split("retry-after: ")[1].split("\r\n")[0]) <= 10
            with edge.request("/sse/scans/demo") as fourth:
                response = fourth.getresponse()
                assert (response.status, "Retry-After" in response.headers) == (429, True)
        assert edge.get("/healthz")[0] == 200
    assert edge.stop()["refused{reason=rate}"] == 2


def test_it_goes_on_when_descriptors_run_out(start: Start) -> None:
    edge, _ = start("[requests]\nheader_timeout_s = 600\nmax_unfinished = 1000000\n")
    pid = edge.process.popen.pid
    with ExitStack() as stack:
        stack.enter_context(closing(silent(edge, b"GET ")))
        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 5, open_now + 5))
        many = [stack.enter_context(closing(silent(edge, b"GET "))) for _ in range(20)]
        edge.process.wait_for("cannot accept")
        for one in many:
            one.close()
        assert edge.get("/healthz")[0] == 200
    assert edge.stop()["accept_failed"] >= 1


def test_it_takes_as_many_descriptors_as_it_may_and_says_when_they_are_few(run_dir: Path) -> None:
    hard = 600
    process = Process(
        "edge", "--run-dir", str(run_dir), "--port", "0", "--log-format", "json",
        program=("tests.sockets.few_descriptors", "100", str(hard)), env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        line = process.wait_for("too few descriptors")
        assert (line["descriptors"], line["max_connections"], line["connections"]) == (
            hard,
            10_000,
            hard - 256,
        )
        process.wait_for("ready")
        assert resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        process.close()
