"""A shard moves to another worker while producers send and readers read."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.faults.scene import Scene
from tests.faults.stand import Stand

WORKERS = ("throttle-batch-0", "throttle-batch-1")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_shards_move_between_workers_under_load(stands: Callable[..., Stand], how: signal.Signals) -> None:
    """Two workers exchange their shards, and exchange them again."""
    stand = stands(*WORKERS, "ingest-0", "edge-0", shards=2)
    scene = Scene(stand, count=400, span_s=3)

    def befall() -> None:
        for round_, owned in enumerate((("1", "0"), ("0", "1")), 1):
            scene.audience.native.wait_for(lambda reader, least=150 * round_: reader.seq >= least)
            with ExitStack() as down:
                for name in WORKERS:
                    down.enter_context(stand.down(name, how))
                for name, shard in zip(WORKERS, owned, strict=True):
                    stand.extra[name] = ["--own", shard]
            for name, shard in zip(WORKERS, owned, strict=True):
                stand.processes[name].wait_for("ready", shards=shard)

    stand.begin()
    scene.play(befall)
    assert len(stand.deaths) == 4
