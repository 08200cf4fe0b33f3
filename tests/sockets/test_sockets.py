"""`sockets` against libzmq as it is installed: binders, bounds, draining."""

from __future__ import annotations

import socket as tcp
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.errors import EndpointError
from pipeline.sockets import MAX_RECEIVED_BYTES, MAX_WIRE_BYTES, Binder, drain, drain_router, found, poll_ms
from tests.harness import PATIENCE, Process
from tests.sockets.peers import Peers, receive

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(run_dir: Path) -> Iterator[Peers]:
    """Give a binder with its context."""
    with Peers(run_dir) as opened:
        yield opened


def test_a_name_has_one_binder_until_that_lets_go(peers: Peers, run_dir: Path) -> None:
    peers.bind(zmq.PULL, "shard-0.in")
    with Peers(run_dir) as second:
        with pytest.raises(EndpointError, match=r"shard-0\.in: another process is bound to it"):
            second.bind(zmq.PULL, "shard-0.in")
        second.bind(zmq.PULL, "shard-1.in")
        peers.binder.close()
        second.bind(zmq.PULL, "shard-0.in")


def test_what_a_killed_process_left_behind_is_taken_over(peers: Peers, run_dir: Path) -> None:
    left = tcp.socket(tcp.AF_UNIX)
    left.bind(str(run_dir / "shard-0.in"))
    left.close()
    (run_dir / "shard-0.in.lock").touch()
    inbox = peers.bind(zmq.PULL, "shard-0.in")
    peers.connect(zmq.PUSH, "shard-0.in").send(b"x")
    assert inbox.recv() == b"x"


def test_a_socket_is_for_its_user_only(peers: Peers, run_dir: Path) -> None:
    peers.bind(zmq.ROUTER, "ingest-0.control")
    assert stat.S_IMODE((run_dir / "ingest-0.control").stat().st_mode) == 0o600


def test_a_path_that_cannot_be_used_is_an_error_of_one_line(peers: Peers, run_dir: Path) -> None:
    (run_dir / "shard-0.in.lock").mkdir()
    (run_dir / "shard-1.in").mkdir()
    for name in ("shard-0.in", "shard-1.in", "n" * 80):
        with pytest.raises(EndpointError) as refused:
            peers.bind(zmq.PULL, name)
        assert name in str(refused.value)
        assert "\n" not in str(refused.value)


def test_found_names_sockets_in_the_order_of_their_numbers(run_dir: Path) -> None:
    left = []
    for name in ("shard-10.events", "shard-2.events", "shard-x.events", "shard-1.in", "other"):
        left.append(tcp.socket(tcp.AF_UNIX))
        left[-1].bind(str(run_dir / name))
    (run_dir / "shard-3.events").touch()
    assert found(run_dir, "shard-*.events") == ["shard-2.events", "shard-10.events"]
    assert found(run_dir / "none", "shard-*.events") == []
    for socket in left:
        socket.close()


def test_who_comes_first_is_found_when_the_other_comes(peers: Peers) -> None:
    push = peers.connect(zmq.PUSH, "shard-0.in")
    push.send(b"early")
    assert peers.bind(zmq.PULL, "shard-0.in").recv() == b"early"


@pytest.mark.parametrize("what", ["gone", "stays"])
@pytest.mark.parametrize("kind", ["DEALER", "SUB"])
def test_a_reader_whose_queue_is_full_outlives_its_peer_and_its_own_pause(
    run_dir: Path, kind: str, what: str
) -> None:
    """libzmq aborts a process whose connection has pings and a full queue, when it goes or is made anew."""
    reader = Process(str(run_dir), kind, what, program=("tests.sockets.full_queue",))
    try:
        assert reader.wait(60) == 0, reader.errors
        assert reader.output == "works\n"
    finally:
        reader.close()


def test_a_connection_that_is_made_anew_has_its_subscriptions(peers: Peers) -> None:
    events = peers.bind(zmq.XPUB, "shard-0.events")
    reader = peers.connect(zmq.SUB, "shard-0.events")
    reader.setsockopt(zmq.SUBSCRIBE, b"H|")
    assert events.recv() == b"\x01H|"
    peers.binder.connect_anew(reader, "shard-0.events")
    joined = events.recv()
    while joined != b"\x01H|":
        joined = events.recv()
    events.send(b"H|x")
    assert reader.recv() == b"H|x"


def test_draining_stops_at_its_limit_and_at_the_end(peers: Peers) -> None:
    inbox = peers.bind(zmq.PULL, "shard-0.in")
    push = peers.connect(zmq.PUSH, "shard-0.in")
    for number in range(5):
        push.send(b"%d" % number)
    got: list[bytes] = []
    while len(got) < 5:
        assert inbox.poll(10_000 * PATIENCE)
        more = list(drain(inbox, 2))
        assert 1 <= len(more) <= 2
        got += more
    assert got == [b"0", b"1", b"2", b"3", b"4"]
    assert list(drain(inbox, 2)) == []


def test_of_several_parts_the_first_counts_and_the_others_are_no_messages(peers: Peers) -> None:
    inbox = peers.bind(zmq.PULL, "shard-0.in")
    push = peers.connect(zmq.PUSH, "shard-0.in")
    push.send_multipart([b"first", b"second", b"third"])
    push.send(b"next")
    got: list[bytes] = []
    while len(got) < 2:
        assert inbox.poll(10_000 * PATIENCE)
        got += drain(inbox, 10)
    assert got == [b"first", b"next"]


def test_a_router_gives_who_it_is_from_and_nothing_of_several_parts(peers: Peers) -> None:
    router = peers.bind(zmq.ROUTER, "ingest-0.control")
    dealer = peers.connect(zmq.DEALER, "ingest-0.control")
    dealer.send_multipart([b"two", b"parts"])
    dealer.send(b"hello")
    got: list[tuple[bytes, bytes]] = []
    while not got:
        assert router.poll(10_000 * PATIENCE)
        got += drain_router(router, 10)
    ((peer, message),) = got
    assert message == b"hello"
    router.send_multipart((peer, b"welcome"))
    assert dealer.recv() == b"welcome"


def test_every_subscriber_that_joins_is_seen_even_to_the_same_topic(peers: Peers) -> None:
    events = peers.bind(zmq.XPUB, "shard-0.events")
    for _ in range(2):
        peers.connect(zmq.SUB, "shard-0.events", subscribe=(b"F|scan/a|",))
        assert receive(events) == b"\x01F|scan/a|"


def test_a_message_beyond_all_bounds_is_not_read_into_memory(peers: Peers) -> None:
    inbox = peers.bind(zmq.PULL, "shard-0.in")
    bad, good = peers.connect(zmq.PUSH, "shard-0.in"), peers.connect(zmq.PUSH, "shard-0.in")
    bound = MAX_RECEIVED_BYTES[zmq.PULL]
    bad.send(b"x" * (bound + 1))
    good.send(b"x" * bound)
    assert len(inbox.recv()) == bound


def test_a_topic_beyond_all_bounds_is_not_read_into_memory(peers: Peers) -> None:
    events = peers.bind(zmq.XPUB, "shard-0.events")
    bound = MAX_RECEIVED_BYTES[zmq.XPUB] - len(b"\x09SUBSCRIBE")
    peers.connect(zmq.SUB, "shard-0.events", subscribe=(b"x" * (bound + 1),))
    peers.connect(zmq.SUB, "shard-0.events", subscribe=(b"x" * bound,))
    assert events.recv() == b"\x01" + b"x" * bound


def test_what_a_question_is_answered_may_be_larger_than_the_question(peers: Peers) -> None:
    router = peers.bind(zmq.ROUTER, "shard-0.history")
    dealer = peers.connect(zmq.DEALER, "shard-0.history")
    dealer.send(b"x" * MAX_RECEIVED_BYTES[zmq.ROUTER])
    peer, question = router.recv_multipart()
    assert len(question) == MAX_RECEIVED_BYTES[zmq.ROUTER]
    router.send_multipart((peer, b"x" * MAX_WIRE_BYTES))
    assert len(dealer.recv()) == MAX_WIRE_BYTES


def test_a_binder_closes_what_it_made(run_dir: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, run_dir)
    sockets = [
        binder.bind(zmq.PULL, "shard-0.in", high_water_mark=1),
        binder.connect(zmq.PUSH, ["shard-0.in"], high_water_mark=1),
    ]
    sockets[1].send(b"never read")
    binder.close()
    binder.close()
    assert all(socket.closed for socket in sockets)
    context.term()  # returns at once: nothing lingers


@pytest.mark.parametrize(
    ("deadline", "now", "timeout"),
    [(None, 5.0, -1), (5.0, 5.0, 0), (4.0, 5.0, 0), (5.0001, 5.0, 1), (5.25, 5.0, 250), (5.2501, 5.0, 251)],
)
def test_poll_never_wakes_before_its_deadline(deadline: float | None, now: float, timeout: int) -> None:
    assert poll_ms(deadline, now) == timeout


@pytest.mark.parametrize(
    "command",
    [
        ("ingest",), ("throttle-batch",), ("edge", "--port", "0"), ("tail",), ("doctor",), ("top", "--once"),
        ("emit", "--scan", "demo"),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_no_process_runs_with_a_libzmq_that_any_peer_can_harm(
    run_dir: Path, command: tuple[str, ...]
) -> None:
    process = Process(
        *command, "--run-dir", str(run_dir), program=("tests.sockets.old_libzmq", "4.3.2"),
        env={"PYTHONPATH": str(ROOT), "PIPELINE_PIPELINE__DATA_DIR": str(run_dir / "data")},
    )  # fmt: skip
    try:
        assert process.wait() == 1
        assert "error: libzmq 4.3.2 is loaded; at least 4.3.3 is needed" in process.errors
        assert "Traceback" not in process.errors
    finally:
        process.close()
