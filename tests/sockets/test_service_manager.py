"""Readiness and signs of life, as systemd hears them: a real datagram socket."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.service_manager import ServiceManager
from tests.e2e.test_up import Start, up
from tests.harness import PATIENCE, Pipeline, Process

__all__ = ["up"]
NAMES = ["ingest-0", "throttle-batch-0", "edge-0"]


class Manager:
    """What systemd does: listens."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20 * PATIENCE)
        self.environ = {"NOTIFY_SOCKET": str(path)}

    def hears(self) -> str:
        return self.socket.recv(1024).decode()

    def hears_at_last(self, wanted: str) -> None:
        while self.hears() != wanted:
            pass


@pytest.fixture
def manager(run_dir: Path) -> Iterator[Manager]:
    listening = Manager(run_dir / "notify")
    with listening.socket:
        yield listening


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_is_ready_lives_and_stops(pipeline: Pipeline, manager: Manager, name: str) -> None:
    environ = {**manager.environ, "WATCHDOG_USEC": "100000"}
    process = pipeline.processes[name] = Process(*pipeline.arguments(name), env=environ)
    manager.hears_at_last("READY=1")
    assert [manager.hears() for _ in range(3)] == ["WATCHDOG=1"] * 3
    process.terminate()
    manager.hears_at_last("STOPPING=1")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_watchdog_it_says_only_what_it_must(
    pipeline: Pipeline, manager: Manager, name: str
) -> None:
    process = pipeline.processes[name] = Process(*pipeline.arguments(name), env=manager.environ)
    assert manager.hears() == "READY=1"
    process.terminate()
    assert manager.hears() == "STOPPING=1"


def test_notify_is_ready_lives_and_stops(pipeline: Pipeline, manager: Manager) -> None:
    config = pipeline.run_dir.parent / "notify.toml"
    hook = '{url = "http://127.0.0.1:9/", secret_env = "HOOK_SECRET", on = ["failed"]}'
    config.write_text(f"[hooks]\nteam = {hook}\n")
    environ = {**manager.environ, "WATCHDOG_USEC": "100000"}
    environ["HOOK_SECRET"] = "whsec_" + base64.b64encode(bytes(32)).decode()
    places = ["--run-dir", str(pipeline.run_dir), "--data-dir", str(pipeline.data_dir), "-c", str(config)]
    process = pipeline.processes["notify"] = Process("notify", *places, env=environ)
    manager.hears_at_last("READY=1")
    assert [manager.hears() for _ in range(3)] == ["WATCHDOG=1"] * 3
    process.terminate()
    manager.hears_at_last("STOPPING=1")


def test_up_is_ready_when_all_of_it_is_and_speaks_alone(
    up: Start, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    running = up()
    running.ready()
    said = []
    while (word := manager.hears()) != "READY=1":
        said.append(word)
    assert set(said) <= {"WATCHDOG=1"}
    assert running.terminate() == 0
    said = []
    while (word := manager.hears()) != "STOPPING=1":
        said.append(word)
    assert set(said) <= {"WATCHDOG=1"}
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hears()


def test_a_sign_of_life_twice_in_the_time_one_is_waited_for(manager: Manager) -> None:
    told = ServiceManager({**manager.environ, "WATCHDOG_USEC": "10000000"})
    told.alive(100.0)
    assert told.next_deadline() == 105.0
    told.alive(104.9)
    told.alive(105.0)
    assert [manager.hears(), manager.hears()] == ["WATCHDOG=1", "WATCHDOG=1"]
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hears()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_who_is_not_waited_for_gives_no_sign(manager: Manager, environ: dict[str, str]) -> None:
    assert ServiceManager({**manager.environ, **environ}).next_deadline() is None


def test_nobody_who_listens_is_no_error(run_dir: Path) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": str(run_dir / "nobody"), "WATCHDOG_USEC": "9"})
    told.ready()
    told.alive(1.0)
    nowhere = ServiceManager({})
    nowhere.ready()
    assert nowhere.next_deadline() is None


def test_a_name_that_is_no_file() -> None:
    name = f"scanstream-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(20 * PATIENCE)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100) == b"READY=1"
