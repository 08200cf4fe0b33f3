"""`emit --run`: real tools and small ones, into a real ingest and worker; a reader sees what arrives."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.producer.emit import emit as command
from tests.harness import Pipeline, Process, deadline

Start = Callable[..., Process]

TALKS = """
import os, signal, sys
def got(number, frame):
    print('{"type":"got","signal":%d}' % number, flush=True)
    if STUBBORN: return
    sys.exit(0)
STUBBORN = len(sys.argv) > 2
signal.signal(signal.SIGINT, got); signal.signal(signal.SIGTERM, got)
open(sys.argv[1], "w").write(str(os.getpid()) + "\\n")
print('{"type":"running"}', flush=True)
while True: signal.pause()
"""


@pytest.fixture
def place(pipeline: Pipeline) -> Pipeline:
    """A pipeline without an edge."""
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name)
    for process in pipeline.processes.values():
        process.wait_for("ready")
    return pipeline


@pytest.fixture
def emit(place: Pipeline) -> Iterator[Start]:
    started: list[Process] = []

    def start(*args: str) -> Process:
        started.append(Process("emit", "--run-dir", str(place.run_dir), "--run", *args))
        return started[-1]

    yield start
    for process in started:
        process.close()


def events(place: Pipeline, scan: str) -> list[dict[str, object]]:
    """What is kept of a scan."""
    tail = Process("tail", "--raw", "--from-start", "--scan", scan, "--run-dir", str(place.run_dir))
    try:
        assert tail.wait() == 0, tail.lines
        return [json.loads(line) for line in tail.output.splitlines()]
    finally:
        tail.close()


def wait_for_event(place: Pipeline, scan: str, type_: str) -> None:
    reader = Process(
        *("tail", "--raw", "--from-start", "--follow", "--scan", scan, "--type", type_, "-n", "1"),
        *("--run-dir", str(place.run_dir)),
    )
    try:
        assert reader.wait(60) == 0
    finally:
        reader.close()


def until(fact: Callable[[], object], seconds: float = 20) -> None:
    end, pause = deadline(seconds), threading.Event()
    while not fact():
        assert time.monotonic() < end, "it does not come true"
        pause.wait(0.01)


def pid_in(path: Path) -> int:
    until(lambda: path.is_file() and path.read_text().endswith("\n"))
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str, *args: str) -> list[str]:
    return ["--", sys.executable, "-c", code, *args]


@pytest.mark.system
def test_nmap_itself(place: Pipeline, emit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = ["nmap", "-n", "-Pn", "-sT", "-p", port, "--script-args", "pass=hunter2", "127.0.0.1"]
        process = emit("--scan", "demo", "--name", "My scan", "--label", "site=hq", "--", *command)
        assert process.wait(60) == 0, process.lines
    told = process.errors.splitlines()
    assert told[0] == "running nmap as scan demo; added: -oX - --stats-every 1s -oN /dev/stderr"
    assert told[1] == "left out of scanStarted: --script-args"
    assert any(line.startswith("Nmap scan report for 127.0.0.1") for line in told)
    assert told[-1].startswith("sent ")
    first, *between, last = events(place, "demo")
    assert {key: first[key] for key in ("type", "name", "targets", "labels", "scanner", "args")} == {
        "type": "scanStarted",
        "name": "My scan",
        "targets": ["127.0.0.1"],
        "labels": {"site": "hq"},
        "scanner": "nmap",
        "args": f"nmap -n -Pn -sT -p {port} --script-args … 127.0.0.1",
    }
    assert [event["port"] for event in between if event["type"] == "portFound"] == [int(port)]
    assert (last["type"], last["total_hosts"], last["exit_status"]) == ("scanCompleted", 1, 0)
    assert "ts" in last


@pytest.mark.system
def test_an_nmap_that_fails_is_an_error_with_its_status(place: Pipeline, emit: Start) -> None:
    process = emit("--scan", "demo", "--", "nmap", "-p", "99999999", "127.0.0.1")
    assert process.wait(60) == 1
    assert "nmap ended with exit status 1" in process.errors
    first, last = events(place, "demo")
    assert first["type"] == "scanStarted"
    assert (last["type"], last["exit_status"]) == ("error", 1)
    assert str(last["message"]).startswith("nmap ended with exit status 1: Ports specified must be")


@pytest.mark.system
def test_an_nmap_interrupted_in_the_middle_ends_its_scan(place: Pipeline, emit: Start) -> None:
    """The port takes the connection and never answers a probe, so that the service scan goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        process = emit("--scan", "demo", "--", "nmap", "-n", "-sT", "-sV", "-p", port, "127.0.0.1")
        wait_for_event(place, "demo", "phaseStarted")
        process.popen.send_signal(signal.SIGINT)
        assert process.wait() == 130
    last = events(place, "demo")[-1]
    assert last["type"] == "error"
    assert str(last["message"]).startswith("nmap was told to stop (SIGINT)")


def test_what_it_says_on_standard_error_is_shown_and_drives_no_terminal(place: Pipeline, emit: Start) -> None:
    code = r"""
import sys
sys.stderr.write("\x1b[2Jhello\rthere\n\n" + "x" * 20_000 + "\nlast")
print('{"type":"a"}\nnonsense\n{"type":"scanStarted"}\n{"type":"b"}')
sys.exit(3)
"""
    process = emit("--scan", "demo", "--from", "ndjson", *python(code))
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert all(line.isprintable() for line in told)
    for line in ("\\x1b[2Jhello", "there", "last"):
        assert line in told
    assert any(line.startswith("line 2: not JSON") for line in told)
    assert max(map(len, told)) < 80_000
    kept = events(place, "demo")
    assert [event["type"] for event in kept] == ["scanStarted", "a", "b", "error"]
    assert kept[-1]["message"] == f"{Path(sys.executable).name} ended with exit status 3"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_ends_the_scan(
    place: Pipeline, emit: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = emit("--scan", "demo", "--from", "ndjson", *python(TALKS, str(tmp_path / "pid")))
    child = pid_in(tmp_path / "pid")
    wait_for_event(place, "demo", "running")
    process.popen.send_signal(number)
    assert process.wait() == 130
    assert not is_alive(child)
    kept = events(place, "demo")
    assert [event["type"] for event in kept] == ["scanStarted", "running", "got", "error"]
    assert kept[2]["signal"] == number
    assert kept[3]["message"] == f"{Path(sys.executable).name} was told to stop ({number.name})"


def test_a_tool_that_does_not_stop_is_killed_at_the_second_signal(
    place: Pipeline, emit: Start, tmp_path: Path
) -> None:
    process = emit("--scan", "demo", "--from", "ndjson", *python(TALKS, str(tmp_path / "pid"), "stubborn"))
    child = pid_in(tmp_path / "pid")
    wait_for_event(place, "demo", "running")
    process.popen.send_signal(signal.SIGINT)
    wait_for_event(place, "demo", "got")
    assert process.popen.poll() is None
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert not is_alive(child)
    last = events(place, "demo")[-1]
    assert (last["type"], last["exit_signal"]) == ("error", "SIGKILL")


def test_a_killed_emit_leaves_no_tool_behind(emit: Start, tmp_path: Path) -> None:
    process = emit("--scan", "demo", "--from", "ndjson", *python(TALKS, str(tmp_path / "pid"), "stubborn"))
    child = pid_in(tmp_path / "pid")
    assert is_alive(child)
    process.kill()
    until(lambda: not is_alive(child))


@pytest.mark.system
def test_a_killed_emit_leaves_no_nmap_behind(place: Pipeline, emit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        process = emit("--scan", "demo", "--", "nmap", "-n", "-sT", "-sV", "-p", port, "127.0.0.1")
        wait_for_event(place, "demo", "phaseStarted")
        pid = process.popen.pid
        (child,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        assert Path(f"/proc/{child}/comm").read_text() == "nmap\n"
        process.kill()
        until(lambda: not is_alive(child))


def test_a_flood_waits_in_the_tool_while_the_pipeline_stands_still(
    place: Pipeline, emit: Start, tmp_path: Path
) -> None:
    """It would print 200 MB; what is on its way is bounded by the emitter's buffer and the pipe."""
    code = """
import os, sys
open(sys.argv[1], "w").write(str(os.getpid()) + "\\n")
line = ('{"type":"a","x":"' + "x" * 980 + '"}\\n') * 100
for number in range(2000):
    sys.stdout.write(line); sys.stdout.flush()
    open(sys.argv[2], "w").write(str(number + 1))
"""
    place.processes["throttle-batch-0"].popen.send_signal(signal.SIGSTOP)
    counted = tmp_path / "count"
    process = emit("--scan", "demo", "--from", "ndjson", *python(code, str(tmp_path / "pid"), str(counted)))
    child = pid_in(tmp_path / "pid")
    seen: list[str] = []

    def stands_still() -> bool:
        seen.append(counted.read_text() if counted.is_file() else "")
        return len(seen) > 200 and seen[-1] != "" and len(set(seen[-200:])) == 1

    until(stands_still, 60)
    assert int(seen[-1]) < 400  # of 2000: 16 MiB, and what a message and a pipe hold
    assert is_alive(child)
    process.popen.send_signal(signal.SIGTERM)
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait(40) == 130
    assert not is_alive(child)


def test_without_a_scan_it_has_an_id_of_its_own_and_auto_finds_out(place: Pipeline, emit: Start) -> None:
    record = '{"ip":"10.0.0.5","port":22,"protocol":"tcp","tls":false}'
    process = emit("--", "echo", record)
    assert process.wait() == 0, process.lines
    told = process.errors.splitlines()
    assert told[0].startswith("running echo as scan echo-")
    assert told[1] == "reading it as naabu"
    kept = events(place, told[0].split()[4])
    assert [event["type"] for event in kept] == [
        "scanStarted",
        "hostDiscovered",
        "portFound",
        "scanCompleted",
    ]


def test_output_that_nobody_knows_ends_the_scan_and_the_tool(place: Pipeline, emit: Start) -> None:
    process = emit("--scan", "demo", "--", "sh", "-c", "echo what is this; exec cat /dev/zero")
    assert process.wait() == 1
    assert process.errors.splitlines()[-1].startswith("error: cannot tell what this is: it begins with ")
    last = events(place, "demo")[-1]
    assert last["type"] == "error"
    assert str(last["message"]).startswith("cannot tell what this is")


def test_a_part_neither_starts_nor_ends_the_scan(place: Pipeline, emit: Start) -> None:
    for status in ("0", "4"):
        process = emit(
            "--scan",
            "demo",
            "--part",
            "--from",
            "ndjson",
            "--",
            "sh",
            "-c",
            f'echo \'{{"type":"a"}}\'; exit {status}',
        )
        assert process.wait() == (1 if status == "4" else 0)
    kept = events(place, "demo")
    assert [event["type"] for event in kept] == ["a", "a", "error"]
    assert kept[-1]["fatal"] is False


def test_a_program_that_is_not_there_is_an_error_and_starts_no_scan(emit: Start) -> None:
    process = emit("--scan", "demo", "--", "/nowhere/nmap")
    assert process.wait() == 1
    assert process.errors == "error: /nowhere/nmap: No such file or directory"


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_bar_is_drawn_on_a_terminal_only(place: Pipeline, tmp_path: Path, terminal: str) -> None:
    file = tmp_path / "in"
    file.write_text('{"type":"a"}\nnonsense\n' * 100)
    here, there = os.openpty()
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline",
                "emit",
                "--scan",
                "demo",
                "--run-dir",
                str(place.run_dir),
                str(file),
            ],
            stderr=there,
            env={**os.environ, "TERM": terminal, "NO_COLOR": "1"},
        )
        os.close(there)
        said = b""
        while True:
            try:
                said += os.read(here, 65_536)
            except OSError:  # the other side has gone
                break
        assert process.wait(20) == 1
    finally:
        os.close(here)
    assert (b"100%" in said) == (terminal == "xterm")
    assert b"line 2: not JSON" in said
    assert b"\x1b[3" not in said
    assert b"sent 100 events to scan demo, 100 refused" in said


def test_a_map_makes_events_of_any_json_lines(place: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_text('{"host":{"addr":"10.0.0.5"},"p":"22"}\n{"host":{}}\n')
    rules = ["type==portFound", "ip=host.addr", "port=p", "protocol==TCP", "state==Open"]
    options = [word for rule in rules for word in ("--map", rule)]
    process = Process("emit", "--scan", "demo", "--run-dir", str(place.run_dir), *options, str(file))
    try:
        assert process.wait() == 1
        assert "line 2: portFound: Object missing required field `ip`; nothing is found by ip=host.addr" in (
            process.errors
        )
    finally:
        process.close()
    assert [event["type"] for event in events(place, "demo")] == ["scanStarted", "portFound", "scanCompleted"]


def test_a_description_that_finds_no_start_is_told(place: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_text('{"type":"a"}\n')
    args = ["emit", "--scan", "demo", "--name", "x", "--run-dir", str(place.run_dir)]
    for more, told in ((["--from", "auto"], "not sent"), (["--scan-start"], "sent 2 events")):
        process = Process(*args, *more, str(file))
        try:
            assert process.wait() == 0
            assert told in process.errors
        finally:
            process.close()
    assert [event.get("name") for event in events(place, "demo")] == [None, "x", None]


def test_every_example_of_its_help_is_a_command_line_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = inspect.getdoc(command.callback) or ""
    examples = [line for line in text.splitlines() if line.startswith("    ")]
    assert len(examples) >= 8
    monkeypatch.chdir(tmp_path)
    (tmp_path / "office.ndjson").touch()
    for line in examples:
        program, *arguments = shlex.split(line.rpartition("|")[2])
        assert program == "emit"
        command.make_context("emit", arguments)
