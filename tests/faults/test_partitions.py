"""The way between two processes is slow, stands still, is cut, or leads nowhere and nobody is told."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.long_form import LONG
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene
from tests.faults.stand import Stand


@dataclass(frozen=True, slots=True)
class Way:
    """Where the proxy stands.

    Attributes:
        here: those whose run directory is the one with the proxy's sockets in it.
        sockets: what leads through the proxy.
    """

    here: tuple[str, ...]
    sockets: tuple[str, ...]


WAYS = {
    "producer to ingest": Way(("producer",), ("ingest-0.data", "ingest-0.control")),
    "producer to ingest, data only": Way(("producer",), ("ingest-0.data",)),
    "ingest to worker": Way(("ingest", "producer"), ("shard-0.in", "shard-0.events")),
    "ingest to worker, events only": Way(("ingest", "producer"), ("shard-0.in",)),
    "worker to edge": Way(("edge", "tail"), ("shard-0.events", "shard-0.history")),
    "worker to edge, frames only": Way(("edge", "tail"), ("shard-0.events",)),
    "worker to edge, history only": Way(("edge", "tail"), ("shard-0.history",)),
}
WHOLE = [name for name in WAYS if "only" not in name]
"""The others are variants of these: the long form has them, too."""


def stand_with(stands: Callable[..., Stand], way: Way) -> tuple[Stand, Proxy]:
    """Return a stand that is not begun, and the proxy in it, not begun either."""
    stand = stands()
    stand.run_dir.mkdir(mode=0o700)
    here = stand.run_dir.with_name("here")
    here.mkdir(mode=0o700)
    for stage in way.here:
        stand.run_dirs[stage] = here
    for name in ("ingest-0.data", "ingest-0.control", "shard-0.in", "shard-0.events", "shard-0.history"):
        if name not in way.sockets and not (name.startswith("ingest") and "ingest" in way.here):
            (here / name).symlink_to(stand.run_dir / name)
    return stand, Proxy(stand.run_dir, here, way.sockets)


@pytest.mark.parametrize("name", WHOLE)
def test_a_way_is_slow_stands_still_and_is_cut(stands: Callable[..., Stand], name: str) -> None:
    stand, proxy = stand_with(stands, WAYS[name])
    rng = random.Random(name)
    pause = threading.Event()

    def befall() -> None:
        proxy.latency_s = 0.03
        pause.wait(0.3)
        for _ in range(3):
            proxy.reset()
            pause.wait(rng.uniform(0.05, 0.3))
        proxy.latency_s = 0
        proxy.stall()
        pause.wait(0.6)
        proxy.reset()
        proxy.go_on()

    with proxy:
        stand.begin()
        Scene(stand).play(befall)
    assert stand.deaths == []


@pytest.mark.parametrize("name", WAYS if LONG else WHOLE)
def test_a_way_leads_nowhere_and_nobody_is_told(stands: Callable[..., Stand], name: str) -> None:
    stand, proxy = stand_with(stands, WAYS[name])
    scene = Scene(stand)

    def befall() -> None:
        scene.audience.native.wait_for(lambda reader: reader.seq >= 20)
        proxy.half_open()

    with proxy:
        stand.begin()
        scene.play(befall)
    assert stand.deaths == []
