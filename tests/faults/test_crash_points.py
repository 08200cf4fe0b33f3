"""Each stage dies at each of its points, one after the other, while a scan runs: nothing is lost, nothing twice."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.crash_points import POINTS
from tests.faults.scene import Scene
from tests.faults.stand import Stand


@pytest.mark.parametrize("stage", POINTS)
def test_a_stage_dies_at_each_of_its_points(stands: Callable[..., Stand], stage: str) -> None:
    stand = stands()
    name = f"{stage}-0"
    points = [f"{point}:{1 if point == 'in_load' else 2}" for point in POINTS[stage]]
    stand.begin()
    stand.once[name].extend(("--crash", point) for point in points)
    scene = Scene(stand)

    def befall() -> None:
        stand.kill(name)
        scene.beside["knock"] = scene.send_until(lambda: stand.died(name) > len(points), "knock")

    scene.play(befall)
    assert stand.deaths == [(name, -signal.SIGKILL)] * (1 + len(points))
