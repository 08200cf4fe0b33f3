"""`emit` as a process, into a real ingest and a real worker; a subscriber sees what arrives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import zmq

from pipeline.event import MAX_EVENT_BYTES
from pipeline.sockets import Binder, found
from pipeline.wire import decode_frame, split_events
from tests.harness import PATIENCE, Pipeline, Process

Start = Callable[..., Process]


class Watcher:
    """Subscribes to every shard, and collects each channel's events."""

    def __init__(self, run_dir: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self._sockets = []
        for name in found(run_dir, "shard-*.events"):
            socket = self._binder.connect(zmq.SUB, [name], high_water_mark=100_000)
            socket.setsockopt(zmq.RCVTIMEO, int(20_000 * PATIENCE))
            socket.setsockopt(zmq.SUBSCRIBE, b"F|")
            socket.setsockopt(zmq.SUBSCRIBE, b"H|")
            assert socket.recv().startswith(b"H|")  # both subscriptions have arrived: they go in order
            self._sockets.append(socket)
        self.seen: dict[str, list[bytes]] = {}
        self.merged = 0

    def until(self, condition: Callable[[], bool]) -> None:
        """Collect events until the condition holds."""
        poller = zmq.Poller()
        for sock in self._sockets:
            poller.register(sock, zmq.POLLIN)
        while not condition():
            ready = poller.poll(20_000 * PATIENCE)
            assert ready, f"nothing more came; so far: {self.seen}"
            for sock, _ in ready:
                message = sock.recv()
                if message.startswith(b"F|"):
                    frame = decode_frame(message)
                    self.seen.setdefault(frame.channel, []).extend(split_events(frame.body))
                    self.merged += frame.header.merged

    def count(self) -> int:
        return sum(map(len, self.seen.values()))

    def types(self, channel: str) -> list[str]:
        return [json.loads(raw)["type"] for raw in self.seen.get(channel, [])]

    def close(self) -> None:
        self._binder.close()
        self._context.term()


@pytest.fixture
def place(pipeline: Pipeline) -> Pipeline:
    """A pipeline without an edge."""
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name)
    for process in pipeline.processes.values():
        process.wait_for("ready")
    return pipeline


@pytest.fixture
def watcher(place: Pipeline) -> Iterator[Watcher]:
    started = Watcher(place.run_dir)
    yield started
    started.close()


@pytest.fixture
def emit(place: Pipeline) -> Iterator[Start]:
    started: list[Process] = []

    def start(*args: str, stdin: Any = None) -> Process:
        started.append(Process("emit", "--run-dir", str(place.run_dir), *args, stdin=stdin))
        return started[-1]

    yield start
    for process in started:
        if process.popen.stdin is not None:
            process.popen.stdin.close()
        process.close()


def write(path: Path, *lines: str | bytes) -> str:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return str(path)


def event(name: str, /, **fields: object) -> str:
    return json.dumps({"type": name, **fields})


def pipe_of(process: Process) -> IO[bytes]:
    assert process.popen.stdin is not None
    return process.popen.stdin


def test_a_file_arrives_byte_for_byte(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    lines = [event("scanStarted"), '{"type":"custom",  "x": 1.0}', event("scanCompleted")]
    process = emit("--scan", "demo", write(tmp_path / "in", *lines))
    assert process.wait() == 0
    assert process.errors == "sent 3 events to scan demo"
    assert process.output == ""
    watcher.until(lambda: watcher.count() == 3)
    assert watcher.seen == {"scan/demo": [line.encode() for line in lines]}


def test_standard_input_leaves_as_it_comes(watcher: Watcher, emit: Start) -> None:
    process = emit("--scan", "demo", stdin=subprocess.PIPE)
    for number in range(1, 4):
        pipe_of(process).write(event(f"e{number}").encode() + b"\n")
        pipe_of(process).flush()
        watcher.until(lambda: watcher.count() == number)  # noqa: B023  called in this round only
    assert process.popen.poll() is None
    pipe_of(process).close()
    assert process.wait() == 0
    assert process.errors == "sent 3 events to scan demo"


def test_a_dash_is_standard_input(emit: Start, tmp_path: Path) -> None:
    with Path(write(tmp_path / "in", event("a"))).open() as file:
        assert emit("--scan", "demo", "-", stdin=file).wait() == 0


def test_bad_lines_are_told_and_the_rest_goes_on(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    path = write(
        tmp_path / "in",
        event("a"),
        "{nonsense",
        event("portFound", ip="10.0.0.1", port=70_000, protocol="TCP", state="Open"),
        event("b", x="y" * MAX_EVENT_BYTES),
        b'{"type":"\xff"}',
        event("c"),
    )
    process = emit("--scan", "demo", path)
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
        "sent 2 events to scan demo, 4 refused",
    ]
    watcher.until(lambda: watcher.count() == 2)
    assert watcher.types("scan/demo") == ["a", "c"]


def test_no_more_than_twenty_problems_are_written_out(emit: Start, tmp_path: Path) -> None:
    process = emit("--scan", "demo", write(tmp_path / "in", *["nonsense"] * 50))
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert len(told) == 21
    assert told[-1] == "sent 0 events to scan demo, 50 refused (30 of them not shown)"


def test_what_is_told_drives_no_terminal(emit: Start, tmp_path: Path) -> None:
    path = write(tmp_path / "in", event("portFound", ip="\x1b[2J", port="\x9b", protocol="\u202e", state=1))
    process = emit("--scan", "demo", path)
    assert process.wait() == 1
    assert all(line.isprintable() for line in process.errors.splitlines())


def test_what_the_pipeline_refuses_is_told_too(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    path = write(tmp_path / "in", event("scanStarted"), event("scanCompleted"), event("scanCompleted"))
    process = emit("--scan", "demo", path)
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert told[0].startswith("scan/demo event 3: after_terminal: ")
    assert told[1] == "sent 2 events to scan demo, 1 refused"


def test_a_scan_that_is_anothers_is_told_and_fails(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    first = write(tmp_path / "first", event("scanStarted"))
    assert emit("--own", "--scan", "demo", first).wait() == 0
    second = write(tmp_path / "second", event("x"))
    for options in ((), ("--own",)):
        process = emit("--scan", "demo", *options, second)
        assert process.wait() == 1
        told = process.errors.splitlines()
        assert told[0].startswith("scan/demo event 1: scan_owned: scan/demo belongs to producer ")
        assert told[1] == "sent 0 events to scan demo, 1 refused"
    assert emit("--scan", "other", first).wait() == 0
    process = emit("--own", "--scan", "other", second)
    assert process.wait() == 1
    assert "scan/other is fed by others already" in process.errors
    watcher.until(lambda: watcher.count() == 2)
    started = [event("scanStarted").encode()]
    assert watcher.seen == {"scan/demo": started, "scan/other": started}


def test_without_a_scan_each_line_goes_to_its_own(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    path = write(
        tmp_path / "in",
        event("a", scan_id="one"),
        event("b", scan_id="two"),
        event("reportStarted", report_id="r1", name="n", format="pdf"),
        event("c", scan_id="one"),
        event("d"),
        event("e", scan_id="../x"),
    )
    process = emit(path)
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert told[0] == "event 5: bad_scan_id: it has no scan_id, and --scan is not given"
    assert told[1].startswith("event 6: bad_scan_id: '../x' is no scan id")
    assert told[2] == "sent 4 events to 3 scans and reports, 2 refused"
    watcher.until(lambda: watcher.count() == 4)
    assert {channel: watcher.types(channel) for channel in watcher.seen} == {
        "scan/one": ["a", "c"],
        "scan/two": ["b"],
        "report/r1": ["reportStarted"],
    }


def test_several_parts_of_one_scan(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    """`--scan-start`, then tools that each think the scan is theirs, then `--scan-end`."""
    part = write(tmp_path / "in", event("scanStarted"), event("a"), event("scanCompleted"))
    for args in (["--scan-start"], ["--part", part], ["--part", part], ["--scan-end"]):
        process = emit("--scan", "demo", *args)
        assert process.wait() == 0, process.lines
    watcher.until(lambda: watcher.count() == 4)
    assert watcher.types("scan/demo") == ["scanStarted", "a", "a", "scanCompleted"]


def test_start_part_and_end_in_one_go(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    part = write(tmp_path / "in", event("scanStarted"), event("a"), event("scanCompleted"))
    assert emit("--scan", "demo", "--scan-start", "--scan-end", part).wait() == 0
    watcher.until(lambda: watcher.count() == 3)
    assert watcher.types("scan/demo") == ["scanStarted", "a", "scanCompleted"]


def test_a_simulation_as_fast_as_possible(watcher: Watcher, emit: Start) -> None:
    about = ("--name", "n", "--target", "10.0.0.0/24", "--label", "a=b")
    process = emit("--simulate", "heroforge", "--speed", "0", "--scans", "2", "--scan", "s", *about)
    assert process.wait(60) == 0
    assert process.errors == "sent 30000 events to 2 scans"
    watcher.until(lambda: watcher.count() + watcher.merged == 30_000)
    assert sorted(watcher.seen) == ["scan/s-1", "scan/s-2"]
    for channel in watcher.seen:
        assert (watcher.types(channel)[0], watcher.types(channel)[-1]) == ("scanStarted", "scanCompleted")
        started = json.loads(watcher.seen[channel][0])
        assert (started["name"], started["targets"], started["labels"]) == ("n", ["10.0.0.0/24"], {"a": "b"})


def test_the_same_seed_is_the_same_scan(watcher: Watcher, emit: Start) -> None:
    for scan, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert emit("--simulate", "heroforge", "--speed", "0", "--seed", seed, "--scan", scan).wait(60) == 0
    watcher.until(lambda: watcher.count() + watcher.merged == 45_000)

    def hosts(scan: str) -> list[bytes]:
        return [raw for raw in watcher.seen[f"scan/{scan}"] if b'"hostDiscovered"' in raw]

    assert hosts("a") == hosts("b") != hosts("c")


def test_ctrl_c_delivers_what_was_read(watcher: Watcher, emit: Start) -> None:
    process = emit("--scan", "demo", stdin=subprocess.PIPE)
    pipe_of(process).write(event("a").encode() + b"\n" + b'{"type":"half')
    pipe_of(process).flush()
    watcher.until(lambda: watcher.count() == 1)
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.errors == "sent 1 event to scan demo"


def test_ctrl_c_tells_those_who_watch_that_nmap_was_interrupted(watcher: Watcher, emit: Start) -> None:
    process = emit("--scan", "demo", "--from", "nmap", stdin=subprocess.PIPE)
    pipe_of(process).write(b'<?xml version="1.0"?>\n<nmaprun scanner="nmap" start="1700000000">\n')
    pipe_of(process).flush()
    watcher.until(lambda: watcher.types("scan/demo") == ["scanStarted"])
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    watcher.until(lambda: watcher.types("scan/demo") == ["scanStarted", "error"])


def test_a_pipeline_that_stands_still_is_told_and_ctrl_c_gives_up(
    place: Pipeline, emit: Start, tmp_path: Path
) -> None:
    place.processes["throttle-batch-0"].popen.send_signal(signal.SIGSTOP)
    process = emit("--scan", "demo", write(tmp_path / "in", event("a")))
    process.wait_for(
        None,
        text=f"waiting: 1 events are not acknowledged after 5 s; the pipeline in {place.run_dir} does not "
        f"keep up or does not run",
    )
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.errors.splitlines()[-1] == "sent 1 event to scan demo, 1 not acknowledged"


def test_no_pipeline_is_an_error_that_names_the_directory(run_dir: Path) -> None:
    process = Process("emit", "--run-dir", str(run_dir), "--scan", "demo", "--scan-start")
    try:
        assert process.wait() == 1
        assert len(process.errors.splitlines()) == 1
        assert process.errors.startswith(f"error: no pipeline answers in {run_dir} after 5 s")
    finally:
        process.close()


def numbers(watcher: Watcher, channel: str) -> list[int]:
    return [json.loads(raw)["n"] for raw in watcher.seen.get(channel, [])]


def test_killed_it_loses_and_doubles_nothing_with_a_spool(
    place: Pipeline, watcher: Watcher, emit: Start, tmp_path: Path
) -> None:
    """It is killed with events read and not acked, for the worker hangs; the next one has the rest."""
    spool = str(tmp_path / "spool")
    lines = [event("custom", n=number) + "\n" for number in range(30)]
    worker = place.processes["throttle-batch-0"].popen
    process = emit("--scan", "demo", "--spool", spool, stdin=subprocess.PIPE)
    pipe_of(process).write("".join(lines[:10]).encode())
    pipe_of(process).flush()
    watcher.until(lambda: watcher.count() == 10)
    worker.send_signal(signal.SIGSTOP)
    pipe_of(process).write("".join(lines[10:20]).encode())
    pipe_of(process).flush()
    pause = threading.Event()
    while Path(spool).read_bytes().count(b"E scan/demo") < 20:
        pause.wait(0.01)
    process.kill()
    worker.send_signal(signal.SIGCONT)
    rest = tmp_path / "rest"
    rest.write_text("".join(lines[20:]))
    process = emit("--scan", "demo", "--spool", spool, str(rest))
    assert process.wait() == 0
    told = process.errors.splitlines()
    assert told[0].startswith(f"{spool}: ")
    assert told[0].endswith(" of the 20 events of an earlier run were not acknowledged and go first")
    watcher.until(lambda: watcher.count() == 30)
    assert numbers(watcher, "scan/demo") == list(range(30))
    assert Path(spool).read_bytes() == b""


def test_resume_sends_what_is_left_and_reads_nothing(place: Pipeline, emit: Start, tmp_path: Path) -> None:
    spool = str(tmp_path / "spool")
    process = emit("--spool", spool, "--resume")
    assert process.wait() == 0
    assert process.errors == "sent 0 events to 0 scans"
    place.processes["throttle-batch-0"].popen.send_signal(signal.SIGSTOP)
    process = emit("--scan", "demo", "--spool", spool, write(tmp_path / "in", event("custom", n=1)))
    process.wait_for(None, text="waiting: 1 events are not acknowledged after 5 s; the pipeline in "
                     f"{place.run_dir} does not keep up or does not run")  # fmt: skip
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.errors.splitlines()[-1] == (
        f"sent 1 event to scan demo, 1 not acknowledged and kept in {spool}"
    )
    place.processes["throttle-batch-0"].popen.send_signal(signal.SIGCONT)
    process = emit("--spool", spool, "--simulate", "heroforge")
    assert process.wait() == 1
    assert process.errors == (
        f"error: {spool}: holds a run that was not finished, 1 of its 1 events not acknowledged; finish it "
        f"with --resume"
    )
    process = emit("--spool", spool, "--resume")
    assert process.wait() == 0
    assert process.errors.splitlines()[-1] == "sent 1 event to scan demo"
    # Asked of history: a bare subscriber's connection does not outlast a worker that stands still so long.
    assert emit("--scan", "demo", write(tmp_path / "in", event("custom", n=2))).wait() == 0
    tail = Process(
        "tail", "--raw", "--from-start", "--follow", "--scan", "demo", "-n", "2",
        "--run-dir", str(place.run_dir),
    )  # fmt: skip
    try:
        assert tail.wait() == 0, tail.lines
        assert [json.loads(line)["n"] for line in tail.output.splitlines()] == [1, 2]
    finally:
        tail.close()


def test_two_with_one_spool_the_second_is_refused(emit: Start, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    first = emit("--scan", "demo", "--spool", str(spool), stdin=subprocess.PIPE)
    pause = threading.Event()
    while not spool.is_file() or not spool.read_bytes():
        pause.wait(0.01)
    second = emit("--scan", "demo", "--spool", str(spool), write(tmp_path / "in", event("a")))
    assert second.wait() == 1
    assert second.errors == f"error: {spool}: another process uses this spool"
    pipe_of(first).close()
    assert first.wait() == 0


def test_a_recording_is_sent_to_the_scans_it_came_from(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    path = write(
        tmp_path / "record",
        '{"channel":"scan/one","epoch":1,"seq":1,"event":{"type":"a",  "x": 1.0}}',
        '{"channel":"scan/two","epoch":1,"seq":9,"event":{"type":"b"}}',
        "",
        '{"channel":"report/r1","epoch":1,"seq":1,"event":{"type":"c"}}',
        event("d", scan_id="one"),
        "nonsense",
        event("e", x="y" * MAX_EVENT_BYTES),
        event("f", x="y" * 3 * MAX_EVENT_BYTES),
        event("g", scan_id="one"),
    )
    process = emit("--replay", path)
    assert process.wait() == 1
    told = process.errors.splitlines()
    assert [line.partition(":")[0] for line in told[:-1]] == ["line 6", "line 7", "line 8"]
    assert told[-1] == "sent 5 events to 3 scans and reports, 3 refused"
    watcher.until(lambda: watcher.count() == 5)
    assert {channel: watcher.types(channel) for channel in watcher.seen} == {
        "scan/one": ["a", "d", "g"],
        "scan/two": ["b"],
        "report/r1": ["c"],
    }
    assert watcher.seen["scan/one"][0] == b'{"type":"a",  "x": 1.0}'


def test_a_recording_goes_to_one_scan_at_its_pace(watcher: Watcher, emit: Start, tmp_path: Path) -> None:
    """The second event is due in five minutes, or, a thousand times faster, in 0.3 seconds."""
    path = write(
        tmp_path / "record",
        '{"channel":"scan/one","epoch":1,"seq":1,"event":{"type":"a","ts":1000}}',
        '{"channel":"scan/two","epoch":1,"seq":1,"event":{"type":"b","ts":1300}}',
    )
    waits = emit("--replay", path, "--scan", "slow")
    watcher.until(lambda: watcher.types("scan/slow") == ["a"])
    for speed in ("1000", "0"):
        process = emit("--replay", path, "--scan", f"at-{speed}", "--speed", speed)
        assert process.wait() == 0
        assert process.errors == f"sent 2 events to scan at-{speed}"
    watcher.until(lambda: watcher.types("scan/at-0") == watcher.types("scan/at-1000") == ["a", "b"])
    assert waits.popen.poll() is None
    waits.popen.send_signal(signal.SIGINT)
    assert waits.wait() == 130
    assert waits.errors == "sent 1 event to scan slow"


def test_what_tail_records_emit_replays(
    place: Pipeline, watcher: Watcher, emit: Start, tmp_path: Path
) -> None:
    record = str(tmp_path / "record")
    lines = [event("scanStarted"), event("custom", x="\u202e"), event("scanCompleted")]
    assert emit("--scan", "one", write(tmp_path / "in", *lines)).wait() == 0
    place_of = ("--run-dir", str(place.run_dir))
    tail = Process("tail", "--from-start", "--scan", "one", "--record", record, *place_of)
    try:
        assert tail.wait() == 0
    finally:
        tail.close()
    assert emit("--replay", record, "--scan", "two").wait() == 0
    watcher.until(lambda: watcher.count() == 6)
    assert watcher.seen["scan/one"] == watcher.seen["scan/two"] == [line.encode() for line in lines]


@pytest.mark.parametrize(
    "flags",
    [
        ["--scan", "a/b"],
        ["--from", "nmap"],
        ["--scan-start"],
        ["--from", "csv", "--scan", "x"],
        ["--seed", "1", "--scan", "x"],
        ["--speed", "1", "--scan", "x"],
        ["--resume"],
        ["--resume", "--spool", "x", "--part"],
        ["--resume", "--spool", "x", "--simulate", "heroforge"],
        ["--replay", "/nowhere/at/all"],
        ["--replay", "/etc/hostname", "--seed", "1"],
        ["--replay", "/etc/hostname", "--from", "nmap"],
        ["--simulate", "heroforge", "--part"],
        ["--simulate", "heroforge", "--scans", "0"],
        ["--simulate", "heroforge", "--scans", "2", "--scan", "x" * 63],
        ["--scan", "x", "/nowhere/at/all"],
        ["--scan", "x", "/etc/hostname", "/etc/hostname"],
        ["--from", "auto"],
        ["--scan", "x", "--map", "ip=a"],
        ["--scan", "x", "--map", "type==a", "--from", "ndjson"],
        ["--map", "type==a"],
        ["--scan", "x", "--name", "n", "--part"],
        ["--scan", "x", "--label", "nothing"],
        ["--scan", "x", "--name", "n" * 201],
        ["--replay", "/etc/hostname", "--name", "n"],
        ["--run"],
        ["--run", "--scan-start", "--", "true"],
        ["--run", "--replay", "/etc/hostname", "--", "true"],
        ["--run", "--", "nmap", "-oX", "file", "127.0.0.1"],
    ],
)
def test_wrong_usage_is_2_and_nothing_is_sent(run_dir: Path, flags: list[str]) -> None:
    process = Process("emit", "--run-dir", str(run_dir), *flags)
    try:
        assert process.wait() == 2
        assert process.errors.startswith("Usage: ")
    finally:
        process.close()


@pytest.mark.system
def test_nmap_itself(watcher: Watcher, emit: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = ["nmap", "-n", "-Pn", "-sT", "-p", str(port), "-oX", "-", "127.0.0.1"]
        nmap = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            process = emit("--scan", "demo", "--from", "nmap", stdin=nmap.stdout)
            assert process.wait(60) == 0, process.lines
            assert nmap.wait(20 * PATIENCE) == 0
        finally:
            nmap.kill()
            nmap.communicate()
    watcher.until(lambda: "scanCompleted" in watcher.types("scan/demo"))
    ports = [json.loads(raw) for raw in watcher.seen["scan/demo"] if b'"portFound"' in raw]
    assert [(found["ip"], found["port"], found["state"]) for found in ports] == [("127.0.0.1", port, "Open")]


def test_help_needs_no_web_server() -> None:
    code = "import sys, pipeline.producer.emit, pipeline.tail.command; print('tornado' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=os.environ)
    assert done.stdout == b"False\n"
