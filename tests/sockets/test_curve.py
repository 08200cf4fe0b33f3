"""Who gets into a socket that wants keys, and who does not: libzmq as it is installed, over TCP."""

from __future__ import annotations

import io
import json
import socket as tcp
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from pipeline import sockets
from pipeline.addresses import host_of
from pipeline.endpoints import Endpoints
from pipeline.errors import ConfigError, EndpointError
from pipeline.key_files import new_pair
from pipeline.log import start_log
from pipeline.sockets import Binder, drain_named, drain_router_named
from tests.harness import PATIENCE, deadline
from tests.keyring import ANY, Keyring
from tests.sockets.peers import Peers, receive

Prepare = Callable[[zmq.Socket[bytes]], None]


class Door:
    """A process's binder with a socket of each kind of use, and peers that try to get in."""

    def __init__(self, place: Path) -> None:
        self.keys = Keyring(place)
        self.stage = self.keys.make("stage", "stage")
        self.lines = io.StringIO()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        names = ["ingest-0.data", "ingest-0.control", "shard-0.in"]
        endpoints = self.keys.endpoints(self.keys.book(dict.fromkeys(names, ANY)), "stage", binds=True)
        self.binder = Binder(self._context, endpoints, start_log("door", "info", "json", self.lines))
        kinds = [zmq.PULL, zmq.ROUTER, zmq.PULL]
        self.sockets = {
            name: self.binder.bind(kind, name, high_water_mark=100)
            for name, kind in zip(names, kinds, strict=True)
        }
        self.book = self.keys.book(self.binder.bound, name="real")
        self._peers: list[zmq.Socket[bytes]] = []

    def close(self) -> None:
        for socket in self._peers:
            socket.close(linger=0)
        self.binder.close()
        self._context.term()

    def raw(self, name: str, prepare: Prepare) -> zmq.Socket[bytes]:
        """Connect a PUSH socket that is not ours, and have it send."""
        socket = self._context.socket(zmq.PUSH)
        self._peers.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        prepare(socket)
        socket.connect(self.binder.bound[name])
        socket.send(b"of a stranger")
        return socket

    def peer(self, name: str, key: str) -> Peers:
        return Peers(self.keys.endpoints(self.book, key))

    def refused(self, reason: str) -> None:
        """Wait until a connection was refused for this reason."""
        end = deadline(20)
        pause = threading.Event()
        while not self.binder.refused().get(reason):
            assert time.monotonic() < end, self.binder.refused()
            pause.wait(0.01)

    def only_takes(self, name: str = "ingest-0.data") -> None:
        """See that nothing came but what an allowed peer sends now."""
        with self.peer(name, "stage") as peers:
            peers.connect(zmq.PUSH, name).send(b"of a friend")
            assert receive(self.sockets[name], lambda _: True) == b"of a friend"


@pytest.fixture
def door(run_dir: Path) -> Iterator[Door]:
    opened = Door(run_dir)
    try:
        yield opened
    finally:
        opened.close()


def curve(public: str, secret: str, server: str) -> Prepare:
    def prepare(socket: zmq.Socket[bytes]) -> None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret.encode())
        socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode())

    return prepare


def plain(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.PLAIN_USERNAME, b"stage")
    socket.setsockopt(zmq.PLAIN_PASSWORD, b"stage")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [(lambda _socket: None, "mechanism"), (plain, "mechanism")],
    ids=["NULL", "PLAIN"],
)
def test_who_has_no_key_is_refused_and_counted(door: Door, prepare: Prepare, reason: str) -> None:
    door.raw("ingest-0.data", prepare)
    door.refused(reason)
    door.only_takes()


def test_a_key_that_nobody_knows_is_refused_counted_and_named_in_the_log(door: Door) -> None:
    pair = new_pair()
    door.raw("ingest-0.data", curve(pair.public, pair.secret, door.stage.public))
    door.refused("unknown_key")
    door.only_takes()
    [line] = [json.loads(line) for line in door.lines.getvalue().splitlines() if "unknown_key" in line]
    assert line["fact"] == "connection refused"
    assert (line["socket"], line["key"], line["address"]) == ("ingest-0.data", pair.public, "127.0.0.1")
    assert pair.secret not in door.lines.getvalue()


def test_a_right_key_is_refused_where_it_has_no_business(door: Door) -> None:
    ada = door.keys.make("ada", "produce")
    door.binder.read_allowed_anew()
    door.raw("shard-0.in", curve(ada.public, ada.secret, door.stage.public))
    door.refused("role")
    door.only_takes("shard-0.in")
    [line] = [json.loads(line) for line in door.lines.getvalue().splitlines() if '"role"' in line]
    assert (line["peer"], line["socket"]) == ("ada", "shard-0.in")


def test_who_does_not_know_the_server_s_key_is_refused(door: Door) -> None:
    pair = door.keys.make("ada")
    door.binder.read_allowed_anew()
    door.raw("ingest-0.data", curve(pair.public, pair.secret, new_pair().public))
    door.refused("server_key")
    door.only_takes()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 100,
        b"\x01\x00" + b"\x0eof a stranger!" * 100,
        b"\xff" + bytes(8) + b"\x7f\x01\x08\x00" + b"\x00\x0eof a stranger!" * 100,
        b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31) + b"\x04\x19\x05READY",
        b"\xff"
        + bytes(7)
        + b"\x01\x7f\x03\x00CURVE"
        + bytes(15)
        + b"\x00"
        + bytes(31)
        + b"\x04\xc8"
        + bytes(200),
        bytes(5_000),
    ],
    ids=["HTTP", "ZMTP 1", "ZMTP 2", "ZMTP 3 NULL", "ZMTP 3 CURVE, no HELLO", "zeros"],
)
def test_bytes_of_a_raw_peer_reach_nobody(
    monkeypatch: pytest.MonkeyPatch, run_dir: Path, said: bytes
) -> None:
    """It is cut off before anything it says is kept: its memory is a handshake's."""
    monkeypatch.setattr(sockets, "HANDSHAKE_S", 2.0)  # so long one may be silent
    door = Door(run_dir)
    try:
        port = int(door.binder.bound["ingest-0.data"].rpartition(":")[2])
        with tcp.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as peer:
            try:
                peer.sendall(said)
                while peer.recv(65_536):
                    pass
            except ConnectionError:
                pass
        door.only_takes()
    finally:
        door.close()


def test_each_message_tells_by_whose_key_it_came(door: Door) -> None:
    names = ("ada", "bob")
    for name in names:
        door.keys.make(name)
    door.binder.read_allowed_anew()
    data, control = door.sockets["ingest-0.data"], door.sockets["ingest-0.control"]
    for name in names:
        with door.peer("", name) as peers:
            pushes = peers.connect(zmq.PUSH, "ingest-0.data")
            pushes.send(b"one")
            pushes.send_multipart([b"two", b"and a part too many"])
            assert data.poll(int(20_000 * PATIENCE))
            got: list[tuple[str, bytes]] = []
            while len(got) < 2:
                got += drain_named(data, 10)
            assert got == [(name, b"one"), (name, b"two")]
            dealer = peers.connect(zmq.DEALER, "ingest-0.control")
            dealer.send(b"hello")
            assert control.poll(int(20_000 * PATIENCE))
            [(peer, message, told)] = drain_router_named(control, 10)
            assert (message, told) == (b"hello", name)
            control.send_multipart((peer, b"welcome"))
            assert dealer.recv() == b"welcome"


def test_what_is_drained_at_once_is_bounded(door: Door) -> None:
    with door.peer("", "stage") as peers:
        pushes = peers.connect(zmq.PUSH, "ingest-0.data")
        for _ in range(4):
            pushes.send(b"four")
        data = door.sockets["ingest-0.data"]
        got = []
        while len(got) < 4:
            assert data.poll(int(20_000 * PATIENCE))
            few = list(drain_named(data, 10, max_bytes=8))
            assert len(few) <= 2
            got += few


def test_who_is_allowed_later_gets_in_by_itself(monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE_S", 2.0)
    door = Door(run_dir)
    try:
        door.keys.make("worker", "stage", allowed=False)
        with door.peer("", "worker") as peers:
            peers.connect(zmq.PUSH, "shard-0.in").send(b"of a friend")
            door.refused("unknown_key")
            public = run_dir / "worker.pub"
            public.rename(door.keys.allowed / public.name)
            door.binder.read_allowed_anew()
            assert receive(door.sockets["shard-0.in"]) == b"of a friend"
    finally:
        door.close()


def test_an_allow_list_with_a_mistake_is_not_taken(door: Door) -> None:
    before = door.binder.allowed
    (door.keys.allowed / "bad.pub").write_text("no key\n")
    door.binder.read_allowed_anew()
    assert door.binder.allowed is before
    assert "allow-list refused; the old one holds" in door.lines.getvalue()
    door.only_takes()


def test_a_socket_in_the_run_directory_asks_for_no_key(door: Door) -> None:
    inbox = door.binder.bind(zmq.PULL, "shard-1.in", high_water_mark=10)
    with Peers(door.keys.place) as peers:
        peers.connect(zmq.PUSH, "shard-1.in").send(b"x")
        assert receive(inbox) == b"x"
    assert not door.binder.is_keyed("shard-1.in")


def test_one_socket_does_not_connect_with_and_without_keys(door: Door) -> None:
    with door.peer("", "stage") as peers, pytest.raises(ConfigError) as caught:
        peers.connect(zmq.PUSH, "shard-1.in", "shard-0.in")
    assert "has shard-0.in, but not shard-1.in: with keys one socket cannot connect to both" in str(
        caught.value
    )


def test_a_connection_that_is_made_anew_has_its_key(door: Door) -> None:
    with door.peer("", "stage") as peers:
        pushes = peers.connect(zmq.PUSH, "shard-0.in")
        for message in (b"before", b"after"):
            pushes.send(message)
            assert receive(door.sockets["shard-0.in"]) == message
            peers.binder.connect_anew(pushes, "shard-0.in")


# --- addresses ----------------------------------------------------------------------------------------


def bound(endpoints: Endpoints) -> dict[str, str]:
    with Peers(endpoints) as peers:
        peers.bind(zmq.PULL, "shard-0.in")
        return peers.binder.bound


def test_on_loopback_it_may_be_bound_without_keys(run_dir: Path) -> None:
    keys = Keyring(run_dir)
    endpoints = keys.endpoints(keys.book({"shard-0.in": ANY}, server=""), "")
    assert host_of(bound(endpoints)["shard-0.in"]) == "127.0.0.1"
    assert endpoints.open_to_all == ["shard-0.in"]


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0"])
def test_beyond_loopback_it_is_not_bound_without_keys(run_dir: Path, address: str) -> None:
    keys = Keyring(run_dir)
    book = keys.book({"shard-0.in": address}, server="")
    with pytest.raises(ConfigError, match=r"beyond loopback ZeroMQ needs CURVE: set \[curve\] key_file"):
        keys.endpoints(book, "")


def test_an_address_that_is_taken_is_an_error_of_one_line(door: Door) -> None:
    endpoints = door.keys.endpoints(door.book, "stage", binds=True)
    with pytest.raises(EndpointError, match=r"shard-0\.in at tcp://127\.0\.0\.1:\d+: Address already in use"):
        bound(endpoints)


def test_with_a_key_it_is_not_bound_without_an_allow_list(run_dir: Path) -> None:
    keys = Keyring(run_dir)
    keys.make("stage")
    with pytest.raises(ConfigError, match=r"\[curve\] allowed_dir is missing"):
        bound(keys.endpoints(keys.book({"shard-0.in": ANY}), "stage"))


def test_it_is_not_bound_with_another_key_than_others_are_told(run_dir: Path) -> None:
    keys = Keyring(run_dir)
    told, own = keys.make("stage"), keys.make("worker")
    with pytest.raises(ConfigError) as caught:
        bound(keys.endpoints(keys.book({"shard-0.in": ANY}), "worker", binds=True))
    assert told.public in str(caught.value)
    assert own.public in str(caught.value)


@pytest.mark.parametrize(
    ("address", "problem"),
    [(ANY, "port 0 is only for who binds"), ("tcp://*:7000", r"\* is only for who binds")],
)
def test_nobody_connects_to_what_is_only_for_who_binds(run_dir: Path, address: str, problem: str) -> None:
    keys = Keyring(run_dir)
    keys.make("stage")
    book = keys.book({"shard-0.in": address})
    with Peers(keys.endpoints(book, "stage")) as peers, pytest.raises(ConfigError, match=problem):
        peers.connect(zmq.PUSH, "shard-0.in")
