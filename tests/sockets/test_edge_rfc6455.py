"""The WebSocket of a running edge against RFC 6455, with raw frames: what a browser gets back.

What each frame means is tested with `unit/edge/test_ws_reading.py`. Here it is seen that a failure is told
with a close frame, that nothing follows that, and how connections begin and end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE, private_dir
from tests.sockets.peers import Edge, Peers, PlayedWorkers, RawBrowser
from tests.unit.edge.test_ws_reading import CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close, frame

BINARY = 0x2


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    with private_dir() as place, Peers(place) as peers:
        running = Edge(place)
        try:
            PlayedWorkers(peers, 1)
            yield running
        finally:
            running.close()


def code_after(edge: Edge, *data: bytes) -> tuple[int, str]:
    """Return the (code, reason) that the edge closes with after these bytes; nothing may follow."""
    with edge.raw("/ws/scans/rfc6455") as browser:
        for part in data:
            browser.socket.sendall(part)
        _, code, reason = browser.until_close()
        assert rest(browser) == b""
        return code, reason


def rest(browser: RawBrowser) -> bytes:
    """Return what still comes until the edge has ended the connection."""
    left = browser._data
    while more := browser.socket.recv(65_536):
        left += more
    return left


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(FIN | TEXT, b"x", mask=None), 1002),
        (frame(FIN | PING, b"x", mask=None), 1002),
        (frame(FIN | 0x10 | TEXT, b"x"), 1002),
        (frame(FIN | 0x40 | TEXT, b"x"), 1002),  # nothing was agreed that gives this bit a meaning
        (frame(FIN | 0x70 | PING, b"x"), 1002),
        (frame(FIN | 0x3, b"x"), 1002),
        (frame(FIN | 0xB, b"x"), 1002),
        (frame(FIN | PING, b"x" * 126), 1002),
        (frame(PING, b"x"), 1002),
        (frame(FIN | CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x") + frame(FIN | TEXT, b"x"), 1002),
        (frame(FIN | CLOSE, b"x"), 1002),
        (close(1000, b"\xff"), 1007),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(FIN | BINARY, b"x"), 1003),
        (frame(FIN | TEXT, b"x" * 16_385), 1009),
        (frame(TEXT, b"x" * 16_384) + frame(FIN | CONTINUATION, b"x"), 1009),
    ],
)
def test_what_is_wrong_is_told_with_a_code_and_the_connection_ends(
    edge: Edge, data: bytes, code: int
) -> None:
    assert code_after(edge, data)[0] == code
    assert code_after(edge, data + frame(FIN | TEXT, b"still here") + frame(FIN | PING))[0] == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_a_close_code_that_nobody_may_send_is_a_protocol_error(edge: Edge, code: int) -> None:
    assert code_after(edge, close(code)) == (1002, "protocol error")


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
def test_a_close_frame_is_answered_with_its_code(edge: Edge, code: int) -> None:
    assert code_after(edge, close(code, b"bye"))[0] == code


def test_an_empty_close_frame_is_answered_with_one(edge: Edge) -> None:
    with edge.raw("/ws/scans/rfc6455") as browser:
        browser.socket.sendall(close(None))
        seen = []
        while (got := browser.frame()) is not None:
            seen.append(got)
        assert seen == [(CLOSE, b"")]


def test_pings_are_answered_whole_fragmented_in_time_and_byte_by_byte(edge: Edge) -> None:
    with edge.raw("/ws/scans/rfc6455") as browser:
        browser.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(FIN | PING, b"one"):
            browser.socket.sendall(bytes((byte,)))
        browser.socket.sendall(frame(TEXT, b"begun ") + frame(FIN | PING, b"two"))
        browser.socket.sendall(frame(FIN | CONTINUATION, b"ended") + frame(FIN | PONG) + frame(FIN | PING))
        answers = []
        while len(answers) < 3:
            got = browser.frame()
            assert got is not None
            if got[0] == PONG:
                answers.append(got[1])
        assert answers == [b"one", b"two", b""]


@pytest.mark.parametrize("version", ["", "7", "8", "14", "x"])
def test_another_version_is_told_which_one_there_is(edge: Edge, version: str) -> None:
    with edge.raw("/ws/scans/rfc6455", {"Sec-WebSocket-Version": version}) as browser:
        assert browser.status == 426
        assert "Sec-Websocket-Version: 13" in browser.head


@pytest.mark.parametrize("path", ["/ws/scans/rfc6455", "/ws/scans", "/ws/stats", "/api/ws/scans/rfc6455"])
@pytest.mark.parametrize(
    "header",
    [{"Upgrade": ""}, {"Connection": "close"}, {"Sec-WebSocket-Key": ""}, {"Sec-WebSocket-Key": "x"}],
)
def test_what_is_no_opening_handshake_is_answered_with_400(
    edge: Edge, path: str, header: dict[str, str]
) -> None:
    with edge.raw(path, header) as browser:
        assert browser.status == 400


def test_what_a_browser_sends_with_its_request_is_heard(edge: Edge) -> None:
    request = (
        f"GET /ws/scans/rfc6455 HTTP/1.1\r\nHost: 127.0.0.1:{edge.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    early = frame(FIN | PING, b"early") + frame(TEXT, b"begun") + frame(FIN | CONTINUATION, b"ended")[:3]
    with edge.raw("/healthz") as browser:
        browser.socket.close()
        browser.socket = socket.create_connection(("127.0.0.1", edge.port), timeout=20 * PATIENCE)
        browser._data = b""
        browser.socket.sendall(request + early)
        while b"\r\n\r\n" not in browser._data:
            browser._data += browser.socket.recv(65_536)
        browser._data = browser._data.partition(b"\r\n\r\n")[2]
        browser.socket.sendall(frame(FIN | CONTINUATION, b"ended")[3:] + frame(FIN | PING, b"late"))
        answers = []
        while len(answers) < 2:
            got = browser.frame()
            assert got is not None
            if got[0] == PONG:
                answers.append(got[1])
        assert answers == [b"early", b"late"]


def test_one_that_does_not_answer_the_close_frame_is_let_go(edge: Edge) -> None:
    with edge.raw("/ws/scans/a%20b") as browser:
        assert browser.until_close()[1] == 4400
        browser.send(PING, b"nothing follows a close frame")
        browser.socket.settimeout(20 * PATIENCE)  # it waits for 5 s
        assert rest(browser) == b""


def test_one_that_leaves_in_the_middle_of_a_frame_is_over_at_once(edge: Edge) -> None:
    with edge.raw("/ws/scans/left") as browser:
        browser.socket.sendall(frame(FIN | TEXT, b"x" * 500)[:100])
        browser.socket.close()
    while (line := edge.process.wait_for("disconnected"))["channel"] != "scan/left":
        pass
    assert line["code"] == 1006


def test_a_flood_of_frames_is_closed_with_4029(run_dir: Path) -> None:
    with Peers(run_dir) as peers:
        edge = Edge(run_dir, "[limits]\nmax_inbound_per_s = 10.0\n")
        try:
            PlayedWorkers(peers, 1)
            with edge.raw("/ws/scans/demo") as browser:
                browser.socket.sendall(frame(FIN | PONG) * 20)  # twice the rate may come at once
                browser.socket.sendall(frame(FIN | PING, b"heard"))
                with edge.raw("/ws/scans/demo") as other:
                    other.socket.sendall(frame(TEXT) + frame(CONTINUATION) * 30)
                    assert other.until_close()[1:] == (4029, "too many messages")
            counted = edge.stop()
            assert counted["refused{reason=4029}"] >= 1
        finally:
            edge.close()
