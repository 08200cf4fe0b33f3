"""Peers that speak ZMTP by hand: whatever they send, or do not read, memory is bounded and others are served.

What libzmq itself does not bound (parts of a message without end, topics without number) is told in
SECURITY.md; `up` ends what that fills, see tests/e2e/test_up.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zmq

from pipeline import Emitter
from pipeline.shards import shard_of
from pipeline.sockets import ingest_control, ingest_data, shard_events, shard_history
from pipeline.wire import Hello, PageRequest, Welcome, decode_ingest_message, encode
from tests.faults.raw_zmtp import GREETING, MORE, RawPeer, announced, command, frame, greeting, ready
from tests.harness import PATIENCE, Pipeline, Process, private_dir
from tests.keyring import ANY, Keyring
from tests.sockets.peers import Peers, receive

MANY_BYTES = 400_000_000
"""More than any process may keep of what a peer sends."""
BOUND_BYTES = 250_000_000
"""What a process may have taken at last; some 40 MB when it begins."""
LINE = b'{"type":"hostDiscovered","ip":"10.0.0.5","scan_id":"flood"}\n'
CONFIG = {"ingest": "[ingest]\nreceive_high_water_mark = 50\nshard_high_water_mark = 50\n"}
SOCKETS = [ingest_data(0), ingest_control(0), shard_events(0), shard_history(0)]
KINDS = dict(zip(SOCKETS, [b"PUSH", b"DEALER", b"SUB", b"DEALER"], strict=True))


@contextmanager
def running() -> Iterator[Pipeline]:
    with private_dir() as place:
        pipeline = Pipeline(place, shards=1)
        try:
            pipeline.start(config=CONFIG)
            yield pipeline
        finally:
            pipeline.close()


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """Give a pipeline of one shard, which all tests here share: each leaves it as good as it was."""
    with running() as started:
        yield started


def taken_bytes(process: Process) -> int:
    """Return how much memory a process has."""
    for line in Path(f"/proc/{process.popen.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{process.args} has ended: {process.errors}")


def check_all_is_well(pipeline: Pipeline, scan: str, worker_bytes: int = BOUND_BYTES) -> None:
    """See events go through to readers, and every process below its bound."""
    with Emitter(scan, run_dir=str(pipeline.run_dir)) as emitter:
        for _ in range(300):
            emitter.emit(b'{"type":"hostDiscovered","ip":"10.0.0.5"}')
        emitter.flush(60 * PATIENCE)
        assert emitter.rejected() == []
    status, told = pipeline.get(f"/api/scans/{scan}")
    assert (status, told["seq"]) == (200, 300)
    for name, process in pipeline.processes.items():
        assert taken_bytes(process) < (worker_bytes if "batch" in name else BOUND_BYTES), name


@pytest.mark.parametrize("socket", SOCKETS)
def test_frames_of_any_size_are_not_read_into_memory(pipeline: Pipeline, socket: str) -> None:
    path = pipeline.run_dir / socket
    for size in (2_097_153, 1 << 40, (1 << 63) - 1):
        with RawPeer(path, KINDS[socket]) as peer:
            assert peer.flood(announced(size) + bytes(1_000_000), MANY_BYTES) < MANY_BYTES
            assert peer.hung_up()
    with RawPeer(path) as peer:
        assert peer.flood(GREETING + announced(1 << 40) + bytes(1_000_000), MANY_BYTES) < MANY_BYTES
        assert peer.hung_up(), "before the handshake is over, too"
    check_all_is_well(pipeline, f"sizes-{SOCKETS.index(socket)}")


def test_the_largest_messages_that_are_taken_wait_outside() -> None:
    with running() as pipeline:
        with RawPeer(pipeline.run_dir / ingest_data(0), b"PUSH") as peer:
            peer.flood(frame(LINE * 16_000), MANY_BYTES)
        check_all_is_well(pipeline, "large", worker_bytes=2 * BOUND_BYTES)  # its inbox: 1,000 messages


@pytest.mark.parametrize("what", [b"", b"\1", b"x" * 200], ids=["empty", "one", "many"])
@pytest.mark.parametrize("socket", SOCKETS)
def test_endless_rubbish(pipeline: Pipeline, socket: str, what: bytes) -> None:
    with RawPeer(pipeline.run_dir / socket, KINDS[socket]) as peer:
        peer.flood(frame(what) * 1_000, 400_000)
    check_all_is_well(pipeline, f"rubbish-{SOCKETS.index(socket)}-{len(what)}")


def test_topics_are_short(pipeline: Pipeline) -> None:
    """Of each byte of a topic libzmq makes a node: 16 MB of it took 800 MB."""
    with RawPeer(pipeline.run_dir / shard_events(0), b"SUB") as peer:
        peer.flood(frame(b"\1" + bytes(1_500)), MANY_BYTES)
        assert peer.hung_up()
    check_all_is_well(pipeline, "topics")


def test_who_asks_and_does_not_read_fills_nothing(pipeline: Pipeline) -> None:
    large = b'{"type":"x","pad":"' + b"." * 60_000 + b'"}'
    with Emitter("asked", run_dir=str(pipeline.run_dir)) as emitter:
        for _ in range(100):
            emitter.emit(large)
        emitter.flush(60 * PATIENCE)
    assert shard_of("scan/asked", 1) == 0
    _, told = pipeline.get("/api/scans/asked")
    page = frame(encode(PageRequest(1, "scan/asked", told["epoch"], 1)))
    with (
        RawPeer(pipeline.run_dir / shard_history(0), b"DEALER") as history,
        RawPeer(pipeline.run_dir / ingest_control(0), b"DEALER") as control,
        RawPeer(pipeline.run_dir / shard_events(0), b"SUB") as events,
    ):
        history.flood(page * 100, len(page) * 3_000)
        control.flood(frame(b'{"type":"stats","id":3}') * 100, 500_000)
        events.flood(frame(b"\1F|"), 10)
        check_all_is_well(pipeline, "unread")


def test_connections_that_never_end_their_handshake_leave_room_for_others(pipeline: Pipeline) -> None:
    beginnings = [b"", b"\xff", GREETING[:11], GREETING, GREETING + ready(b"PUSH")[:5]]
    with ExitStack() as stack:
        for socket in SOCKETS:
            for number in range(200):
                peer = stack.enter_context(RawPeer(pipeline.run_dir / socket))
                peer.socket.sendall(beginnings[number % len(beginnings)])
        check_all_is_well(pipeline, "half")
    check_all_is_well(pipeline, "half-again")


def test_identities_are_each_bounded_and_nobody_takes_another_s(pipeline: Pipeline) -> None:
    path = pipeline.run_dir / ingest_control(0)
    with ExitStack() as stack:
        for number in range(300):
            identity = f"{number:0255}".encode()
            stack.enter_context(RawPeer(path, b"DEALER", identity))
        first, second = (stack.enter_context(RawPeer(path, b"DEALER", b"same")) for _ in range(2))
        hello = frame(b'{"type":"hello","pid":"%s","inc":1}')
        first.socket.sendall(hello.replace(b"%s", b"p1"))
        assert b"welcome" in first.socket.recv(4_096)
        second.socket.sendall(hello.replace(b"%s", b"p2"))
        first.socket.sendall(hello.replace(b"%s", b"p3"))
        assert b"welcome" in first.socket.recv(4_096), "the first one still has the name"
        check_all_is_well(pipeline, "names")


def test_a_flood_of_connections_finds_descriptors_that_the_process_may_have(run_dir: Path) -> None:
    """Without any left libzmq would end it: an ipc socket that cannot accept is an assertion that fails."""
    limits = ("tests.sockets.few_descriptors", "100", "2000")
    common = ("--run-dir", str(run_dir), "--shards", "1", "--log-format", "json")
    process = Process("ingest", *common, program=limits)
    try:
        process.wait_for("ready")
        hello = frame(b'{"type":"hello","pid":"p","inc":1}')
        path = run_dir / ingest_control(0)
        with RawPeer(path, b"DEALER") as good:
            with ExitStack() as stack:
                for _ in range(400):
                    stack.enter_context(RawPeer(path))
                good.socket.sendall(hello)
                assert b"welcome" in good.socket.recv(4_096)
            with RawPeer(path, b"DEALER") as late:
                late.socket.sendall(hello)
                assert b"welcome" in late.socket.recv(4_096)
        assert taken_bytes(process) < BOUND_BYTES
        assert process.terminate() == 0
    finally:
        process.close()


def damaged(random_: random.Random, kind: bytes) -> bytes:
    """Return a handshake and some frames that are nearly right."""
    parts = [
        GREETING,
        ready(kind, random_.choice([None, b"", b"\0", b"\0\0\0\0\1", b"i" * 255, b"i" * 300])),
        command(
            random_.choice(
                [b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"ERROR", b"HELLO", b"READY", b"x" * 255]
            )
        ),
        command(b"PING", random_.randbytes(random_.randrange(40))),
        frame(random_.randbytes(random_.randrange(300)), random_.randrange(256)),
    ]
    raw = bytearray(b"".join(parts[: random_.randrange(1, 6)]))
    for _ in range(random_.choice([0, 0, 1, 1, 2, 5])):
        raw[random_.randrange(len(raw))] = random_.randrange(256)
    return bytes(raw)


@pytest.mark.parametrize("socket", SOCKETS)
def test_handshakes_that_are_nearly_right_harm_nobody(pipeline: Pipeline, socket: str) -> None:
    """libzmq has ended its process for less: an assertion that fails is an abort."""
    random_ = random.Random(SOCKETS.index(socket))
    for _ in range(300):
        with RawPeer(pipeline.run_dir / socket) as peer:
            peer.flood(damaged(random_, KINDS[socket]), 1)
    check_all_is_well(pipeline, f"nearly-{SOCKETS.index(socket)}")


@contextmanager
def keyed_ingest(
    run_dir: Path, *program: str
) -> Iterator[tuple[Process, dict[str, str], Callable[[], bool]]]:
    """Give an ingest at TCP ports that wants keys, their addresses, and whether a friend is served."""
    keys = Keyring(run_dir)
    keys.make("stage", "stage")
    names = [ingest_data(0), ingest_control(0)]
    common = ("--run-dir", str(run_dir), "--shards", "1", "--log-format", "json")
    flags = keys.flags(keys.book(dict.fromkeys(names, ANY)))
    process = Process("ingest", *flags, *common, program=program or ("pipeline",))
    with ExitStack() as stack:
        stack.callback(process.close)
        bound = {name: process.wait_for("bound", socket=name)["address"] for name in names}
        process.wait_for("ready")

        def serves_a_friend() -> bool:
            with Peers(keys.endpoints(keys.book(bound, name="real"), "stage")) as friends:
                friend = friends.connect(zmq.DEALER, ingest_control(0))
                friend.send(encode(Hello("p", 1)))
                return decode_ingest_message(receive(friend)) == Welcome(0)

        yield process, bound, serves_a_friend
        assert taken_bytes(process) < BOUND_BYTES
        assert process.terminate() == 0


def test_strangers_at_a_tcp_port_that_wants_keys_get_nothing_into_memory(run_dir: Path) -> None:
    with keyed_ingest(run_dir) as (_, bound, serves_a_friend):
        whats = [
            frame(b"", MORE) * 50_000,
            announced(2_000_000) + bytes(1_000_000),
            command(b"HELLO", bytes(194)) * 1_000,
        ]
        for name, address in bound.items():
            for mechanism in (b"NULL", b"CURVE", b"PLAIN", b"x" * 20):
                for what in whats:
                    with RawPeer(address) as peer:
                        begin = greeting(mechanism) + ready(KINDS[name])
                        assert peer.flood(begin + what, MANY_BYTES) < MANY_BYTES
            with ExitStack() as stack:
                for number in range(200):
                    peer = stack.enter_context(RawPeer(address))
                    peer.socket.sendall(greeting(b"CURVE")[: number % 65])
                assert serves_a_friend()


def test_more_connections_at_a_tcp_port_than_descriptors_let_others_in_when_their_time_is_over(
    run_dir: Path,
) -> None:
    with (
        keyed_ingest(run_dir, "tests.sockets.few_descriptors", "100", "100") as (_, bound, serves_a_friend),
        ExitStack() as stack,
    ):
        for _ in range(200):
            stack.enter_context(RawPeer(bound[ingest_data(0)]))
        assert serves_a_friend()
