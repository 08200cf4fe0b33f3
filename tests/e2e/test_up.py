"""`up` as its users meet it: one command, a whole pipeline, nothing left behind."""

from __future__ import annotations

import os
import queue
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import Emitter
from pipeline.sockets import ingest_data
from pipeline.up.config import MIN_MEMORY_BYTES
from tests.faults.raw_zmtp import MORE, RawPeer, frame
from tests.harness import PATIENCE, Process, deadline, free_port, private_dir
from tests.sockets.receiver import receiver


class Up(Process):
    """A running `up`, what it says on standard output as it says it."""

    def __init__(self, place: Path, *args: str) -> None:
        self._said: queue.Queue[str | None] = queue.Queue()
        self.run_dir = place / "run"
        self.data_dir = place / "data"
        self.port = free_port()
        places = ["--run-dir", str(self.run_dir), "--data-dir", str(self.data_dir), "--port", str(self.port)]
        super().__init__("up", *places, "--log-format", "json", *args)

    def _read_stdout(self) -> None:
        assert self.popen.stdout is not None
        for raw in self.popen.stdout:
            self.stdout.append(raw)
            self._said.put(raw.decode())
        self._said.put(None)

    def ready(self) -> None:
        """Wait for the ready line, which must be the first and say where everything is."""
        line = self._said.get(timeout=30 * PATIENCE)
        assert line == f"ready edge=http://127.0.0.1:{self.port}/ run_dir={self.run_dir}\n", self.lines

    def children(self) -> dict[str, int]:
        """Return name -> pid of the latest start of each program."""
        return {line["program"]: line["pid"] for line in self.lines if line.get("fact") == "started"}

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10 * PATIENCE
            ) as response:
                return int(response.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def carries_an_event(self, scan_id: str) -> None:
        """Send an event, and see it acked."""
        with Emitter(scan_id, run_dir=str(self.run_dir)) as emitter:
            emitter.emit({"type": "custom"})
            emitter.flush(20 * PATIENCE)


Start = Callable[..., Up]


@pytest.fixture
def up() -> Iterator[Start]:
    started: list[Up] = []
    with private_dir() as place:

        def start(*args: str) -> Up:
            started.append(Up(place, *args))
            return started[-1]

        yield start
        for process in started:
            process.close()


def gone(pids: list[int], seconds: float = 10) -> None:
    """Wait until none of these processes runs any more; a zombie that nobody reaps does not run."""
    end = deadline(seconds)
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(max(0, end - time.monotonic()) * 1000), f"{pid} still runs"
        finally:
            os.close(descriptor)


def test_it_starts_works_and_stops_in_order(up: Start) -> None:
    running = up()
    running.ready()
    assert running.get("/readyz") == running.get("/") == 200
    running.carries_an_event("demo")
    pids = running.children()
    assert sorted(pids) == ["edge-0", "ingest-0", "throttle-batch-0"]
    assert running.terminate() == 0
    gone(list(pids.values()))
    stopped = [line["process"].split("-")[0] for line in running.lines if line.get("fact") == "stopped"]
    assert list(dict.fromkeys(stopped)) == ["ingest", "throttle", "edge"]
    assert running.output.count("\n") == 1


def test_ctrl_c_ends_with_130(up: Start) -> None:
    running = up()
    running.ready()
    running.popen.send_signal(signal.SIGINT)
    assert running.wait() == 130
    gone(list(running.children().values()))


def test_ctrl_c_while_it_starts(up: Start) -> None:
    running = up()
    running.wait_for("started", program="edge-0")
    running.popen.send_signal(signal.SIGINT)
    assert running.wait() == 130
    gone(list(running.children().values()))


def test_children_are_out_of_reach_of_the_terminal(up: Start) -> None:
    """A Ctrl-C goes to a whole process group; only `up` may get it, which then decides."""
    running = up()
    running.ready()
    groups = {os.getpgid(pid) for pid in running.children().values()}
    assert os.getpgid(running.popen.pid) not in groups
    assert len(groups) == 3


@pytest.mark.parametrize("name", ["ingest-0", "throttle-batch-0", "edge-0"])
def test_what_is_killed_comes_back(up: Start, name: str) -> None:
    running = up()
    running.ready()
    before = running.children()[name]
    os.kill(before, signal.SIGKILL)
    died = running.wait_for("died", program=name)
    assert (died["signal"], died["restart_in_s"]) == ("SIGKILL", 0)
    assert running.wait_for("started", program=name)["pid"] != before
    running.wait_for("ready")
    running.carries_an_event("demo")
    assert running.get("/") == 200
    assert running.terminate() == 0


@pytest.mark.parametrize("name", ["throttle-batch-0", "ingest-0", "edge-0"])
def test_what_hangs_is_killed_and_comes_back(up: Start, tmp_path: Path, name: str) -> None:
    config = tmp_path / "up.toml"
    config.write_text("[restart]\nhung_s = 1.0\n")
    running = up("-c", str(config), "--log-level", "debug")
    running.ready()
    before = running.children()
    running.wait_for("alive", program=name)
    os.kill(before[name], signal.SIGSTOP)
    assert running.wait_for("hung", program=name)["silent_s"] >= 1
    assert running.wait_for("died", program=name)["signal"] == "SIGKILL"
    assert running.wait_for("started", program=name)["pid"] != before[name]
    running.wait_for("ready")
    running.carries_an_event("demo")
    assert running.get("/") == 200
    assert [line["program"] for line in running.lines if line.get("fact") == "hung"] == [name]
    assert running.terminate() == 0


def test_what_is_filled_with_endless_parts_is_killed_and_comes_back(up: Start, tmp_path: Path) -> None:
    """libzmq keeps the parts of a message that does not end, however many there are; nobody can see them."""
    config = tmp_path / "up.toml"
    config.write_text(f"[restart]\nmax_memory_bytes = {MIN_MEMORY_BYTES}\n")
    running = up("-c", str(config))
    running.ready()
    before = running.children()
    with Emitter("demo", run_dir=str(running.run_dir)) as emitter:
        emitter.emit(b'{"type":"scanStarted"}')
        emitter.flush(20 * PATIENCE)
        with RawPeer(running.run_dir / ingest_data(0), b"PUSH") as peer:
            peer.flood(frame(b"", MORE) * 50_000, 20_000_000)
            line = running.wait_for("too large", program="ingest-0")
            emitter.emit(b'{"type":"scanCompleted"}')
        assert line["memory_bytes"] > line["max_memory_bytes"] == MIN_MEMORY_BYTES
        assert running.wait_for("died", program="ingest-0")["signal"] == "SIGKILL"
        assert running.wait_for("started", program="ingest-0")["pid"] != before["ingest-0"]
        emitter.flush(30 * PATIENCE)
        assert emitter.rejected() == []
    assert [line["program"] for line in running.lines if line.get("fact") == "too large"] == ["ingest-0"]
    assert running.terminate() == 0


def test_a_worker_that_cannot_write_is_not_taken_for_a_hung_one(up: Start, tmp_path: Path) -> None:
    config = tmp_path / "up.toml"
    config.write_text("[restart]\nhung_s = 1.0\n")
    running = up("-c", str(config), "--log-level", "debug")
    running.ready()
    worker = running.children()["throttle-batch-0"]
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, hard))  # as if its disk were full
    with Emitter("demo", run_dir=str(running.run_dir)) as emitter:
        emitter.emit(b'{"type":"scanStarted"}')
        end = deadline(20)
        while running.get("/readyz") != 503:
            assert time.monotonic() < end
        # Another one hangs, and is noticed: so long at least the worker has been looked at.
        running.wait_for("alive", program="ingest-0")
        os.kill(running.children()["ingest-0"], signal.SIGSTOP)
        running.wait_for("hung", program="ingest-0")
        assert emitter.unacked == 1
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
        emitter.flush(30 * PATIENCE)
    assert running.children()["throttle-batch-0"] == worker
    assert running.terminate() == 0


def test_beacons_too_rare_for_hung_s_are_78(up: Start, tmp_path: Path) -> None:
    (tmp_path / "throttle-batch.toml").write_text("[publish]\nbeacon_interval_s = 1.5\n")
    (tmp_path / "up.toml").write_text(f'[stages]\nthrottle_batch_config = "{tmp_path}/throttle-batch.toml"\n')
    running = up("-c", str(tmp_path / "up.toml"))
    assert running.wait() == 78
    assert (
        "hung_s = 3: must be 0, or >= 3 times the workers' [publish] beacon_interval_s (1.5)"
        in running.errors
    )
    assert running.children() == {}


def test_an_edge_that_drains_longer_than_up_waits_is_78(up: Start, tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text("[drain]\ngrace_s = 4.0\nwindow_s = 3.0\n")
    (tmp_path / "up.toml").write_text(f'[stages]\nedge_config = "{tmp_path}/edge.toml"\n')
    running = up("-c", str(tmp_path / "up.toml"))
    assert running.wait() == 78
    assert "stop_s = 5: must be >= 7, the edges' [drain] grace_s + window_s" in running.errors
    assert running.children() == {}


def test_killed_itself_it_leaves_nobody_behind(up: Start) -> None:
    running = up("--demo")
    running.ready()
    running.wait_for("started", program="demo")
    pids = running.children()
    os.kill(pids["throttle-batch-0"], signal.SIGSTOP)  # one that could not react to anything
    running.kill()
    gone(list(pids.values()))
    again = up()
    again.ready()
    again.carries_an_event("demo")


def test_killed_while_it_starts_it_leaves_nobody_behind(up: Start) -> None:
    running = up()
    running.wait_for("started", program="edge-0")
    running.kill()
    gone(list(running.children().values()))


def test_several_of_each(up: Start) -> None:
    running = up("--ingests", "2", "--workers", "2", "--edges", "2", "--shards", "3")
    running.ready()
    names = [f"{stage}-{number}" for stage in ("edge", "ingest", "throttle-batch") for number in (0, 1)]
    assert sorted(running.children()) == names
    owned = [line["shards"] for line in running.lines if str(line.get("process")).startswith("throttle")]
    assert sorted(owned) == ["0,2", "1"]
    for number in range(6):
        running.carries_an_event(f"scan-{number}")
    assert running.terminate() == 0


def test_the_demo_plays_once(up: Start) -> None:
    running = up("--demo")
    running.ready()
    tail = Process("tail", "--run-dir", str(running.run_dir), "--scan", "demo", "-n", "5", "--timeout", "20")
    try:
        assert tail.wait(30) == 0
    finally:
        tail.close()
    demo = running.wait_for("started", program="demo")["pid"]
    os.kill(demo, signal.SIGTERM)
    assert running.wait_for("done", program="demo")["exit_code"] == 130
    assert running.terminate() == 0
    assert [line["program"] for line in running.lines if line.get("fact") == "started"].count("demo") == 1


def test_one_that_does_not_stop_is_killed(up: Start, tmp_path: Path) -> None:
    config = tmp_path / "up.toml"
    (tmp_path / "edge.toml").write_text("[drain]\nwindow_s = 0.0\n")
    config.write_text(f'[restart]\nstop_s = 0.2\n[stages]\nedge_config = "{tmp_path}/edge.toml"\n')
    running = up("-c", str(config))
    running.ready()
    os.kill(running.children()["throttle-batch-0"], signal.SIGSTOP)
    assert running.terminate() == 0
    running.wait_for("killed", program="throttle-batch-0")  # a busy machine may be late with others too
    gone(list(running.children().values()))


def test_a_second_ctrl_c_waits_for_nobody(up: Start, tmp_path: Path) -> None:
    config = tmp_path / "up.toml"
    config.write_text("[restart]\nstop_s = 600\n")
    running = up("-c", str(config))
    running.ready()
    os.kill(running.children()["throttle-batch-0"], signal.SIGSTOP)
    running.popen.send_signal(signal.SIGINT)
    running.wait_for("stopped", process="ingest-0")
    running.popen.send_signal(signal.SIGINT)
    assert running.wait() == 130
    gone(list(running.children().values()))


def test_a_port_in_use_is_one_line_and_nothing_is_started(up: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        running = up("--port", str(port))
        assert running.wait() == 1
    assert running.errors == (
        f"error: port {port} of 127.0.0.1: Address already in use; choose another one with --port"
    )
    assert running.children() == {}
    assert not running.data_dir.exists()


def test_a_process_that_fails_at_start_up_ends_it(up: Start) -> None:
    """It would fail for ever: somebody else holds the name it needs."""
    first = up()
    first.ready()
    (first.run_dir / "up.lock").unlink()  # which would say it earlier
    second = up()
    assert second.wait() == 1
    told = second.errors.splitlines()
    # Whichever comes first: a name of the run directory, or the journal.
    assert any("another process is bound to it" in line or "owns this journal" in line for line in told)
    assert told[-1].endswith("ended with exit code 1 while starting; its own lines above say why")
    assert first.get("/readyz") == 200
    gone(list(second.children().values()))


def test_two_of_them_in_one_run_directory_is_an_error(up: Start) -> None:
    first = up()
    first.ready()
    second = up()
    assert second.wait() == 1
    assert second.errors == f"error: run directory {second.run_dir}: another `up` runs in it"
    assert first.get("/readyz") == 200


def test_another_number_of_shards_is_78_and_names_both(up: Start) -> None:
    running = up("--shards", "2")
    running.ready()
    assert running.terminate() == 0
    running = up("--shards", "3")
    assert running.wait() == 78
    assert "was made with 2 shards, but 3 are configured" in running.errors
    running = up()
    running.ready()  # says nothing, takes what is there


def test_a_wrong_configuration_of_a_stage_is_78_before_anything_runs(up: Start, tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text('[http]\naddress = "0.0.0.0"\n')
    (tmp_path / "up.toml").write_text(f'[stages]\nedge_config = "{tmp_path}/edge.toml"\n')
    running = up("-c", str(tmp_path / "up.toml"))
    assert running.wait() == 78
    assert "[http] address = '0.0.0.0': must be a loopback address" in running.errors
    assert running.children() == {}


def test_a_pipeline_that_is_not_ready_in_time_says_what_is_missing(up: Start, tmp_path: Path) -> None:
    (tmp_path / "up.toml").write_text("[restart]\nstart_s = 0.1\n")
    running = up("-c", str(tmp_path / "up.toml"))
    assert running.wait() == 1
    assert running.errors.startswith("error: not ready after 0.1 s: ")
    assert "edge-0" in running.errors
    gone(list(running.children().values()))


def test_flags_are_handed_on(up: Start) -> None:
    running = up("--log-level", "error", "--profile", "low-latency")
    running.ready()
    commands = [psutil.Process(child.pid).cmdline() for child in psutil.Process(running.popen.pid).children()]
    assert len(commands) == 3
    for command in commands:
        assert command[command.index("--log-level") + 1] == "error"
        assert command[command.index("--profile") + 1] == "low-latency"
    assert running.terminate() == 0
    assert running.lines == []


def test_standard_input_and_output_are_not_the_childrens(up: Start) -> None:
    running = up()
    running.ready()
    for pid in running.children().values():
        assert os.path.realpath(f"/proc/{pid}/fd/0") == os.devnull
        assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2")
        assert os.readlink(f"/proc/{pid}/fd/1") != os.readlink(f"/proc/{running.popen.pid}/fd/1")


def test_the_directory_somebody_stands_in_is_not_imported_from(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise SystemExit('wrong one')")
    (tmp_path / "json.py").write_text("raise SystemExit('wrong one')")
    with private_dir() as place:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("pipeline")), "up", "--port", str(free_port())],
            cwd=tmp_path,
            env={
                **os.environ,
                "PIPELINE_RUN_DIR": str(place / "run"),
                "XDG_STATE_HOME": str(place / "state"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"ready ")
            process.terminate()
            assert process.wait(20 * PATIENCE) == 0
        finally:
            process.kill()
            process.communicate()


def test_it_runs_notify_where_there_are_hooks(up: Start, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "up.toml").write_text(f'[stages]\nnotify_config = "{tmp_path}/notify.toml"\n')
    with receiver() as hook:
        line = f'url = "{hook.url()}", secret_file = "secret", on = ["completed"]'
        (tmp_path / "notify.toml").write_text(f"[hooks]\nteam = {{{line}}}\n")
        running = up("-c", str(tmp_path / "up.toml"))
        running.ready()
        with Emitter("office", run_dir=str(running.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted"})
            emitter.emit({"type": "scanCompleted"})
            emitter.flush(20 * PATIENCE)
        assert hook.next().message["data"]["scan_id"] == "office"
        running.wait_for("delivered")
        os.kill(running.children()["notify"], signal.SIGKILL)
        assert running.wait_for("died")["program"] == "notify"
        with Emitter("lab", run_dir=str(running.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted"})
            emitter.emit({"type": "scanCompleted"})
            emitter.flush(20 * PATIENCE)
        assert hook.next().message["data"]["scan_id"] == "lab"
        assert running.terminate() == 0, running.lines
        assert hook.waiting() == []


def test_a_wrong_hook_is_78_before_anything_runs(up: Start, tmp_path: Path) -> None:
    (tmp_path / "notify.toml").write_text('[hooks]\na = {url = "ftp://h", on = ["completed"]}\n')
    (tmp_path / "up.toml").write_text(f'[stages]\nnotify_config = "{tmp_path}/notify.toml"\n')
    running = up("-c", str(tmp_path / "up.toml"))
    assert running.wait() == 78
    assert "[hooks] a.url: must begin with http:// or https://" in running.errors
    assert running.children() == {}
