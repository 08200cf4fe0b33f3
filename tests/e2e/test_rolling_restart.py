"""SIGUSR2 to `up`: everything is restarted, one process at a time, and nobody misses anything."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_up import Up, gone
from tests.faults.scene import Scene
from tests.harness import deadline, private_dir


class Stage:
    """What a scene is played on: a pipeline under `up`."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.url = f"http://127.0.0.1:{up.port}"
        self.deaths: list[tuple[str, int]] = []
        self.last_words: list[str] = []

    def ws(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.up.port}{path}"

    def run_dir_of(self, _stage: str) -> Path:
        return self.up.run_dir


@pytest.fixture
def place() -> Iterator[Path]:
    with private_dir() as path:
        yield path


def restart(up: Up) -> None:
    """Restart everything, and wait until that is done."""
    up.popen.send_signal(signal.SIGUSR2)
    up.wait_for("restarted", 60)


@pytest.mark.parametrize(("edges", "names"), [(1, {"edge-1"}), (2, {"edge-2", "edge-0"})])
def test_a_scan_goes_on_and_nobody_misses_an_event(place: Path, edges: int, names: set[str]) -> None:
    up = Up(place, "--edges", str(edges), "--workers", "2", "--ingests", "2")
    try:
        up.ready()
        before = up.children()
        scene = Scene(Stage(up), span_s=6.0, count=600, patience_s=60.0)  # type: ignore[arg-type]

        def befall() -> None:
            end = deadline(20)
            while scene.audience.native.seq < 20 or not scene.audience.sse.opened:
                assert deadline(0) < end
                threading.Event().wait(0.02)
            restart(up)

        scene.play(befall)
        after = {line["program"]: line["pid"] for line in up.lines if line.get("fact") == "started"}
        running = [after[name] for name in after if name.startswith(("ingest", "throttle")) or name in names]
        for pid in running:
            os.kill(pid, 0)
        assert not set(running) & set(before.values())
        gone(list(before.values()))
        for reader in (scene.audience.native, scene.audience.sse):
            assert reader.opened <= 1 + edges, "an edge that is not replaced sends nobody away"
            assert all(hello.resumed is not False for hello in reader.hellos)
        assert not any(line.get("fact") in ("died", "hung", "killed") for line in up.lines)
        ended = [line["program"] for line in up.lines if line.get("fact") == "ended"]
        assert ended == [*(n for n in before if n[0] == "t"), *(n for n in before if n[0] == "i"),
                         *(n for n in before if n[0] == "e")]  # fmt: skip
        assert up.terminate() == 0
    finally:
        up.close()


def test_again_and_again_and_one_at_a_time(place: Path) -> None:
    up = Up(place)
    try:
        up.ready()
        up.popen.send_signal(signal.SIGUSR2)
        up.wait_for("restarting")
        up.popen.send_signal(signal.SIGUSR2)
        assert up.wait_for("restart refused")["problem"] == "one is under way"
        up.wait_for("restarted", 60)
        restart(up)
        edges = [line["program"] for line in up.lines if line.get("fact") == "started"]
        assert [name for name in edges if name.startswith("edge")] == ["edge-0", "edge-1", "edge-0"]
        up.carries_an_event("demo")
        assert up.get("/readyz") == 200
        assert up.terminate() == 0
    finally:
        up.close()


def test_a_new_edge_that_is_not_ready_leaves_the_old_one_where_it_is(place: Path) -> None:
    config = place / "edge.toml"
    config.write_text("")
    (place / "up.toml").write_text(f'[stages]\nedge_config = "{config}"\n[restart]\nstart_s = 20\n')
    up = Up(place, "-c", str(place / "up.toml"))
    try:
        up.ready()
        edge = up.children()["edge-0"]
        config.write_text("[http]\nnonsense = 1\n")
        up.popen.send_signal(signal.SIGUSR2)
        up.wait_for("died", program="edge-1", exit_code=78)
        assert up.wait_for("restart given up", 60)["program"] == "edge-1"
        os.kill(edge, 0)
        assert up.get("/readyz") == 200
        up.carries_an_event("demo")
        config.write_text("")
        restart(up)
        gone([edge])
        assert up.get("/readyz") == 200
        assert up.terminate() == 0
    finally:
        up.close()


def test_an_edge_among_several_that_hangs_is_noticed(place: Path) -> None:
    (place / "up.toml").write_text("[restart]\nhung_s = 1.0\n")
    up = Up(place, "-c", str(place / "up.toml"), "--edges", "2", "--log-level", "debug")
    try:
        up.ready()
        up.wait_for("alive", program="edge-1")
        pid = up.children()["edge-1"]
        os.kill(pid, signal.SIGSTOP)
        up.wait_for("hung", program="edge-1")
        up.wait_for("started", program="edge-1")
        gone([pid])
        assert up.terminate() == 0
        assert [line["program"] for line in up.lines if line.get("fact") == "hung"] == ["edge-1"]
    finally:
        up.close()
