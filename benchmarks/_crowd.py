"""One server and very many clients of it: started, connected, warmed up, ended.

Also which servers there are, and what they are given to send.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
from _centrifugo import Centrifugo
from _daemons import Nats, Nchan
from _load import Load, upgrade
from _measuring import memory_bytes
from _pushpin import Pushpin
from _servers import Ours, SendLoop, Server, SocketIO, Tornado, Websockets

from tests.harness import private_dir

SERVERS: tuple[type[Server], ...] = (
    *(SendLoop, Ours, Nchan, Nats, Pushpin, Centrifugo),
    *(Tornado, Websockets, SocketIO),
)
"""The yardstick first."""
WARM_UP_FRAMES = 5
DIFFERENT = 64
"""Messages that differ: no server may gain by sending the same again."""


def chosen(only: str, say: Callable[[str], None] = print) -> list[type[Server]]:
    """Return the servers to measure, the yardstick first; say which are not installed."""
    kinds = []
    wanted = only.lower().split(",")
    for kind in SERVERS:
        if (
            only
            and kind is not SERVERS[0]
            and not any(word in f"{kind.__name__} {kind.name}".lower() for word in wanted)
        ):
            continue
        missing = kind.missing()
        if missing:
            say(f"{kind.name}: not measured, {missing} is not installed")
        else:
            kinds.append(kind)
    return kinds


def messages(size_bytes: int) -> list[bytes]:
    """Return events of exactly this size as scanners send them, and as alike."""
    rng = random.Random(1)

    def found() -> dict[str, object]:
        host = f"10.0.{rng.randrange(256)}.{rng.randrange(256)}"
        port = rng.randrange(1, 65_536)
        return {"type": "portFound", "ip": host, "port": port, "protocol": "TCP", "state": "Open"}

    composed = []
    for _ in range(DIFFERENT):
        event = found()
        if size_bytes > 500:
            event = {"type": "note", "found": []}
            while len(orjson.dumps(event)) < size_bytes - 120:
                event["found"] = [*event["found"], found()]  # type: ignore[misc]  # a list, see above
        event["pad"] = ""
        event["pad"] = "x" * (size_bytes - len(orjson.dumps(event)))
        composed.append(orjson.dumps(event))
    assert {len(message) for message in composed} == {size_bytes}
    return composed


@dataclass(frozen=True, slots=True)
class Crowd:
    """A server and its clients.

    Attributes:
        empty_bytes: memory of the server's processes before the first client.
    """

    server: Server
    load: Load
    empty_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Memory of the server's processes now."""
        return sum(map(memory_bytes, self.server.pids))


@contextmanager
def crowd(
    kind: type[Server],
    clients: int,
    size_bytes: int,
    *,
    deflate: bool,
    max_frames: int = 200,
    warm_up: bool = True,
) -> Iterator[Crowd]:
    """Start a server with so many clients; nothing is on the way then.

    Args:
        kind: the server.
        clients: how many.
        size_bytes: of a message.
        deflate: whether the clients offer compression, and the server may use it.
        max_frames: frames whose arrival is kept.
        warm_up: whether each client has had a few frames.

    Raises:
        SystemExit: a client is refused or closed, or frames do not come.
    """
    with private_dir() as place:
        server = kind(place, messages(size_bytes), deflate=deflate)
        try:
            empty_bytes = sum(map(memory_bytes, server.pids))
            request = upgrade(server.port, server.path, deflate=deflate, protocol=server.protocol)
            load = Load(place, server.port, clients, request, server.first, server.unit, max_frames)
            try:
                load.connect()
                load.settle(0.5, 60)
                load.reset()
                if warm_up:
                    server.publish(WARM_UP_FRAMES, 0.1)
                    load.await_frames(WARM_UP_FRAMES, 60)
                    if load.counted()[0] < clients:
                        raise SystemExit(f"{kind.name}: {load.counted()[0]} frames for {clients} clients")
                yield Crowd(server, load, empty_bytes)
            finally:
                load.close()
        finally:
            server.close()
