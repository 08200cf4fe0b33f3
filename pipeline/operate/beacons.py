"""Hears the workers' beacons for a moment: which shards there are, and how they are. Shell."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import zmq

from pipeline.endpoints import Endpoints
from pipeline.errors import MessageMalformed
from pipeline.sockets import Binder, drain, found, shard_events
from pipeline.wire import BEACON_TOPIC, Beacon, decode_beacon


def hear(where: Path | Endpoints, wait_s: float, *, any_will_do: bool = False) -> dict[int, Beacon]:
    """Return the last beacon of each shard that gives a sign of life in time.

    Args:
        where: where the sockets are; a path is a run directory.
        wait_s: how long to wait, in seconds, unless all shards were heard before.
        any_will_do: whether one is enough.
    """
    names = found(where, "shard-*.events")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, where)
    heard: dict[int, Beacon] = {}
    try:
        socket = binder.connect(zmq.SUB, names or [shard_events(0)], high_water_mark=1_000)
        socket.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
        until = time.monotonic() + wait_s
        while (
            (left := until - time.monotonic()) > 0 and not (heard and any_will_do) and not _all_heard(heard)
        ):
            if socket.poll(int(left * 1000) + 1):
                for message in drain(socket, 1_000):
                    with contextlib.suppress(MessageMalformed):
                        beacon = decode_beacon(message)
                        heard[beacon.shard] = beacon
    finally:
        binder.close()
        context.term()
    return heard


def _all_heard(heard: dict[int, Beacon]) -> bool:
    return bool(heard) and all(set(range(beacon.shards)) <= set(heard) for beacon in heard.values())
