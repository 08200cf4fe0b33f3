"""The notify process between real workers and real receivers."""

from __future__ import annotations

import base64
import json
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import Emitter
from pipeline.notify.signing import signed_headers
from tests.faults.crashing import kill, restart
from tests.harness import PATIENCE, Pipeline, Process
from tests.sockets.receiver import Received, Receiver, receiver
from tests.sockets.test_edge_pipeline import asked

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
QUICK = "[delivery]\nfirst_retry_s = 0.02\nmax_retry_s = 0.1\n"
FINDING = {"type": "vulnerabilityFound", "ip": "10.0.0.1", "severity": "Critical", "title": "bad"}


def hook_line(name: str, url: str, *on: str, more: str = "") -> str:
    rules = ", ".join(f'"{rule}"' for rule in on or ("completed",))
    return f'{name} = {{url = "{url}", secret_env = "HOOK_SECRET", on = [{rules}]{more}}}\n'


class Notify(Process):
    """A notify process beside a pipeline."""

    def __init__(self, pipeline: Pipeline, toml: str, *args: str) -> None:
        path = pipeline.run_dir.parent / "notify.toml"
        path.write_text(toml)
        places = ["--run-dir", str(pipeline.run_dir), "--data-dir", str(pipeline.data_dir)]
        super().__init__(
            *("notify", "-c", str(path), *places, "--shards", str(pipeline.shards)),
            *("--log-format", "json", *args),
            env={"HOOK_SECRET": SECRET},
        )

    def stop(self) -> dict[str, object]:
        """Stop it; return its counters."""
        assert self.terminate() == 0
        return self.lines[-1]


Start = Callable[..., Notify]


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def place(pipeline: Pipeline) -> Pipeline:
    """A pipeline without an edge."""
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name).wait_for("ready")
    return pipeline


@pytest.fixture
def start(place: Pipeline) -> Iterator[Start]:
    started: list[Notify] = []

    def new(toml: str, *args: str) -> Notify:
        started.append(Notify(place, toml, *args))
        started[-1].wait_for("ready")
        return started[-1]

    yield new
    for process in started:
        process.close()


def emit(place: Pipeline, scan_id: str, *events: dict[str, object]) -> None:
    with Emitter(scan_id, run_dir=str(place.run_dir)) as emitter:
        for event in events:
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)


def scan(place: Pipeline, scan_id: str, *events: dict[str, object]) -> None:
    """A whole scan."""
    emit(place, scan_id, {"type": "scanStarted", "name": scan_id}, *events, {"type": "scanCompleted"})


def test_a_hook_is_told_and_can_verify_it(place: Pipeline, hook: Receiver, start: Start) -> None:
    process = start(
        "[hooks]\n" + hook_line("team", hook.url("/x?key=hunter2"), "completed", "critical_finding")
    )
    scan(place, "office", FINDING, FINDING)
    first, second = hook.next(), hook.next()
    assert [each.message["type"] for each in (first, second)] == ["scan.critical_finding", "scan.completed"]
    assert first.path == "/x?key=hunter2"
    assert first.message["data"]["event"] == FINDING
    assert first.message["data"]["position"].endswith(":2")
    assert second.message["data"]["position"].endswith(":4")
    assert second.message["data"]["scan"]["name"] == "office"
    for each in (first, second):
        wanted = signed_headers([KEY], each.id, int(each.headers["webhook-timestamp"]), each.body)
        assert {name: each.headers[name] for name in wanted} == wanted
        assert each.headers["content-type"] == "application/json"
    assert first.id != second.id
    counted = process.stop()
    assert (counted["delivered"], counted["attempts"], counted["waiting"]) == (2, 2, 0)
    assert hook.waiting() == []
    everything = str(process.lines)
    assert "hunter2" not in everything
    assert SECRET not in everything


def test_the_example_of_the_document_checks_it(place: Pipeline, hook: Receiver, start: Start) -> None:
    text = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text().partition("\n## Webhooks\n")[2]
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    check = names["check"]
    start("[hooks]\n" + hook_line("team", hook.url()))
    scan(place, "office")
    message = hook.next()
    assert check(SECRET, message.headers, message.body)
    assert not check(SECRET, message.headers, message.body + b" ")
    assert not check("whsec_" + base64.b64encode(KEY[::-1]).decode(), message.headers, message.body)
    assert not check(SECRET, {**message.headers, "webhook-id": "msg_other"}, message.body)
    assert not check(SECRET, {**message.headers, "webhook-timestamp": "1"}, message.body)
    assert not check(SECRET, {}, message.body)
    sent_s = int(message.headers["webhook-timestamp"])
    stale = signed_headers([KEY], message.id, sent_s - 3600, message.body)
    assert not check(SECRET, stale, message.body)
    assert check(SECRET, signed_headers([KEY[::-1], KEY], message.id, sent_s, message.body), message.body)


def test_its_file_is_its_owners_alone(place: Pipeline, hook: Receiver, start: Start) -> None:
    start("[hooks]\n" + hook_line("team", hook.url()))
    names = [path for path in place.data_dir.iterdir() if path.name.startswith("notify.db")]
    assert {path.stat().st_mode & 0o777 for path in names if path.suffix != ".lock"} == {0o600}


def test_a_second_one_is_refused(place: Pipeline, hook: Receiver, start: Start) -> None:
    start("[hooks]\n" + hook_line("team", hook.url()))
    second = Notify(place, "[hooks]\n" + hook_line("team", hook.url()))
    try:
        assert second.wait() == 1
        assert "another process" in second.errors
    finally:
        second.close()


def test_killed_it_goes_on_and_tells_everything_once(place: Pipeline, hook: Receiver, start: Start) -> None:
    toml = QUICK + "[hooks]\n" + hook_line("team", hook.url())
    told = []
    process = start(toml)
    for number in range(4):
        scan(place, f"while-up-{number}")
        told += [hook.next()]
        process.wait_for("delivered")
        process.kill()
        scan(place, f"while-down-{number}")
        process = start(toml)
        told += [hook.next()]
        process.wait_for("delivered")
    scans = [each.message["data"]["scan_id"] for each in told]
    assert scans == [f"while-{what}-{number}" for number in range(4) for what in ("up", "down")]
    assert process.stop()["waiting"] == 0
    assert hook.waiting() == []


def test_what_a_receiver_did_not_take_is_kept_over_a_kill(place: Pipeline, start: Start) -> None:
    with receiver() as down:
        port = down.port
    toml = QUICK + "[hooks]\n" + hook_line("team", f"http://127.0.0.1:{port}/")
    process = start(toml)
    for number in range(5):
        scan(place, f"s{number}")
    process.wait_for("not delivered")
    while _waiting(place) < 5:
        process.wait_for("not delivered")
    process.kill()
    start(toml).wait_for("not delivered", waiting=5)
    with receiver(port) as up:
        told = [up.next() for _ in range(5)]
        # Of one scan they come in order, of several as they were seen: shards do not wait for each other.
        assert sorted(each.message["data"]["scan_id"] for each in told) == [f"s{n}" for n in range(5)]
        assert len({each.id for each in told}) == 5


def _waiting(place: Pipeline) -> int:
    with sqlite3.connect(f"file:{place.data_dir}/notify.db?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM message").fetchone()[0])


STALLED = {"type": "scanStalled", "silent_s": 60}


def test_an_outage_with_lives_that_came_and_went_loses_none(
    place: Pipeline, hook: Receiver, start: Start
) -> None:
    """Known scans and new ones, ended and begun again, out of the worker's memory or still in it."""
    toml = "[hooks]\n" + hook_line("team", hook.url(), "completed", "critical_finding")
    process = start(toml)
    scan(place, "known")
    hook.next()
    process.wait_for("delivered")
    process.kill()
    wanted = []
    for scan_id, lives in (("known", 3), ("new", 3), ("gone", 2)):
        for life in range(lives):
            finding = {**FINDING, "title": f"{scan_id} {life}"}
            scan(place, scan_id, finding, finding)
            wanted += [(scan_id, "critical_finding"), (scan_id, "completed")]
    kill(place, "throttle-batch-0")
    at_once = {"throttle-batch": "[cleanup]\ncleanup_after_s = 0\n"}  # what has ended is in the journal only
    place.start_one("throttle-batch-0", config=at_once).wait_for("ready")
    scan(place, "known", FINDING)
    wanted += [("known", "critical_finding"), ("known", "completed")]
    process = start(toml)
    told = [hook.next().message["data"] for _ in wanted]
    assert sorted((each["scan_id"], each["rule"]) for each in told) == sorted(wanted)
    assert len({each["position"] + each["scan_id"] for each in told}) == len(wanted)
    for scan_id in ("known", "new", "gone"):
        mine = [each["position"] for each in told if each["scan_id"] == scan_id]
        assert mine == sorted(mine, key=lambda place: [int(part) for part in place.split(":")])
    scan(place, "after")
    assert [hook.next().message["data"]["scan_id"]] == ["after"]
    process.wait_for("delivered")
    assert hook.waiting() == []


def test_how_a_receiver_answers(place: Pipeline, hook: Receiver, start: Start) -> None:
    """Unwell: the same again. Refused: others pass. 410: nothing more. One that hangs holds up no other."""
    with receiver() as hanging, receiver() as gone:
        hanging.answers.put(None)
        gone.answers.put((410, {}))
        lines = [
            hook_line("team", hook.url(), "stalled"),
            hook_line("hangs", hanging.url(), "stalled"),
            hook_line("gone", gone.url(), "stalled"),
        ]
        process = start(QUICK + "".join(["[hooks]\n", *lines]))
        for answer in ((500, {}), (503, {"Retry-After": "0"}), (302, {"Location": hook.url("/other")})):
            hook.answers.put(answer)
        emit(place, "office", {"type": "scanStarted"}, STALLED)
        first = [hook.next() for _ in range(4)]
        assert len({each.id for each in first}) == 1
        assert {each.path for each in first} == {"/hook"}
        process.wait_for("delivered", hook="team")
        hook.answers.put((404, {}))
        emit(place, "lab", {"type": "scanStarted"}, STALLED)
        emit(place, "yard", {"type": "scanStarted"}, STALLED)
        later = [hook.next().message["data"]["scan_id"] for _ in range(3)]
        assert sorted(later) == ["lab", "lab", "yard"]
        assert hanging.hanging.is_set()
        assert hanging.next().message["data"]["hook"] == "hangs"
        assert hanging.waiting() == []
        assert gone.next().message["data"]["scan_id"] == "office"
        process.wait_for("messages dropped", hook="gone", reason="gone")
        assert gone.waiting() == []
        counted = process.stop()
    assert counted["failed{reason=unwell}"] == 2
    assert counted["failed{reason=refused}"] == 2
    assert counted["failed{reason=gone}"] == counted["hooks_gone"] == 1
    assert counted["dropped{reason=gone}"] == 3
    assert counted["waiting"] == 3, "what hangs is kept"


def test_killed_after_the_receiver_took_it_the_same_id_comes_again(place: Pipeline, start: Start) -> None:
    """The one case that cannot be ruled out, and how the receiver knows it."""
    with receiver() as hook:
        hook.answers.put(None)
        toml = "[hooks]\n" + hook_line("team", hook.url())
        process = start(toml)
        scan(place, "office")
        first = hook.next()
        process.kill()
        start(toml).wait_for("delivered")
        again = hook.next()
        assert (again.id, again.body) == (first.id, first.body)
        assert hook.waiting() == []


def test_a_worker_and_a_scan_that_begin_anew(place: Pipeline, hook: Receiver, start: Start) -> None:
    start("[hooks]\n" + hook_line("team", hook.url(), "completed", "critical_finding"))
    emit(place, "office", {"type": "scanStarted", "labels": {"team": "red"}}, FINDING)
    assert hook.next().message["type"] == "scan.critical_finding"
    restart(place, "throttle-batch-0")
    emit(place, "office", FINDING, {"type": "scanCompleted"}, {"type": "scanStarted"}, FINDING)
    told = [hook.next().message for _ in range(2)]
    assert [each["type"] for each in told] == ["scan.completed", "scan.critical_finding"]
    assert [each["data"]["scan"]["labels"] for each in told] == [{"team": "red"}, {}]
    epochs = [int(each["data"]["position"].split(":")[0]) for each in told]
    assert epochs[0] < epochs[1]


def test_a_test_message_says_what_came_back(pipeline: Pipeline, hook: Receiver) -> None:
    pipeline.data_dir.mkdir(mode=0o700)
    toml = "[hooks]\n" + hook_line("team", hook.url("/x?key=hunter2"))
    for answer, code in (((200, {}), 0), ((500, {}), 1)):
        hook.answers.put(answer)
        tried = Notify(pipeline, toml, "--test", "team")
        assert tried.wait() == code
        said = tried.output + tried.errors
        tried.close()
        assert hook.next().message["type"] == "test"
        assert f"127.0.0.1:{hook.port}" in said
        assert f"status {answer[0]}" in said
        assert "hunter2" not in said
    tried = Notify(pipeline, toml, "--test", "tema")
    assert tried.wait() == 2
    assert "there are: team" in tried.errors
    tried.close()


def test_every_mistake_is_told_at_once_and_no_secret(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.data_dir.mkdir(mode=0o700)
    (tmp_path / "short").write_text("whsec_aHVudGVyMg==")
    toml = """
    [hooks.a]
    url = "ftp://hunter2"
    on = ["completed"]
    secret_env = "NONE"
    [hooks."b c"]
    url = "http://h/"
    on = ["completed"]
    """
    tried = Notify(pipeline, toml)
    assert tried.wait() == 78
    assert tried.errors.splitlines() == [
        "error: notify: [hooks] a.url: must begin with http:// or https://",
        "error: notify: [hooks] b c: a name is 1 to 64 letters, digits, - and _",
        "error: notify: [hooks] b c: one of secret_file and secret_env must be given",
    ]
    tried.close()
    toml = f"""
    [hooks]
    a = {{url = "http://h/", on = ["completed"], secret_env = "NONE"}}
    b = {{url = "http://h/", on = ["completed"], secret_file = "{tmp_path}/short"}}
    c = {{url = "http://h/", on = ["completed"], secret_file = "absent"}}
    """
    tried = Notify(pipeline, toml)
    assert tried.wait() == 78
    assert tried.errors.splitlines() == [
        "error: notify: [hooks] a: environment variable NONE: is not set",
        f"error: notify: [hooks] b: {tmp_path}/short: a secret is 7 bytes; 24 to 64 are possible",
        "error: notify: [hooks] c: absent: No such file or directory",
    ]
    tried.close()
    tried = Notify(pipeline, '[hooks]\na = {url = "http://hunter2/", on = ["complete"], secret_env = "X"}\n')
    assert tried.wait() == 78
    assert "on[0]" in tried.errors
    assert "hunter2" not in tried.errors
    tried.close()


def test_a_ledger_that_cannot_be_written_delays_and_loses_nothing(
    place: Pipeline, hook: Receiver, start: Start
) -> None:
    process = start("[hooks]\n" + hook_line("team", hook.url()))
    scan(place, "before")
    hook.next()
    process.wait_for("delivered")
    _, hard = resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (0, hard))  # as if its disk were full
    scan(place, "office")
    process.wait_for("ledger cannot be written")
    assert hook.waiting() == []
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert hook.next().message["data"]["scan_id"] == "office"
    process.wait_for("delivered")
    counted = process.stop()
    assert counted["ledger_failures"] >= 1
    assert (counted["delivered"], counted["waiting"]) == (2, 0)


# --- hooks that change while it runs ----------------------------------------------------------------------


def hang_up(
    notify: Notify, pipeline: Pipeline, toml: str, fact: str = "configuration read anew"
) -> dict[str, Any]:
    (pipeline.run_dir.parent / "notify.toml").write_text(toml)
    notify.popen.send_signal(signal.SIGHUP)
    return notify.wait_for(fact)


def test_hooks_come_change_and_go_while_it_runs(place: Pipeline, start: Start, hook: Receiver) -> None:
    with receiver() as gone, receiver() as late:
        gone.answers.put((410, {}))
        for _ in range(200):
            late.answers.put((503, {}))
        old = hook_line("ops", gone.url()) + hook_line("leaves", late.url())
        notify = start(QUICK + "[hooks]\n" + old)
        scan(place, "one")
        notify.wait_for("hook is gone")
        late.next()
        new = "[hooks]\n" + hook_line("ops", hook.url("/ops")) + hook_line("comes", hook.url("/comes"))
        told = hang_up(notify, place, QUICK + new)
        assert (told["changed"], told["needs_restart"]) == ("hooks.ops, hooks.leaves, hooks.comes", "")
        dropped = notify.wait_for("messages dropped")
        assert (dropped["hook"], dropped["reason"], dropped["count"]) == ("leaves", "no_hook", 1)
        scan(place, "two")
        received = [hook.next(), hook.next()]
        assert {each.path for each in received} == {"/ops", "/comes"}
        assert {each.message["data"]["scan_id"] for each in received} == {"two"}, "the one before was gone"
        counted = notify.stop()
        assert counted["config_reloads{result=taken}"] == 1
        assert (counted["waiting"], counted["hooks_gone"], counted["delivered"]) == (0, 0, 2)


def test_secrets_are_read_again_and_wrong_ones_are_refused(
    place: Pipeline, start: Start, hook: Receiver
) -> None:
    secret = place.run_dir.parent / "team.secret"
    secret.write_text(SECRET)
    toml = f'[hooks]\nteam = {{url = "{hook.url()}", secret_file = "{secret.name}", on = ["completed"]}}\n'
    notify = start(toml)
    scan(place, "one")
    other = bytes(range(32, 64))
    _is_signed(hook.next(), KEY)
    secret.write_text("nothing of the kind")
    refused = hang_up(notify, place, toml, "configuration refused; the old one holds")
    assert refused["problem"].startswith("notify: [hooks] team: team.secret: holds 4 secrets") or (
        "is no secret" in refused["problem"]
    )
    refused = hang_up(notify, place, "", "configuration refused; the old one holds")
    assert "[hooks] is empty" in refused["problem"]
    scan(place, "two")
    _is_signed(hook.next(), KEY)
    secret.write_text(base64.b64encode(other).decode())
    assert hang_up(notify, place, toml, "secrets read anew")["hooks"] == "team"
    scan(place, "three")
    _is_signed(hook.next(), other)
    counted = notify.stop()
    assert (counted["config_reloads{result=taken}"], counted["config_reloads{result=refused}"]) == (1, 2)


def _is_signed(received: Received, key: bytes) -> None:
    sent_s = int(received.headers["webhook-timestamp"])
    expected = signed_headers((key,), received.id, sent_s, received.body)
    assert received.headers["webhook-signature"] == expected["webhook-signature"]


# --- who looks at the pipeline --------------------------------------------------------------------------


def test_it_is_seen_by_doctor_top_and_the_edge(place: Pipeline, start: Start, hook: Receiver) -> None:
    place.start_edge()
    place.wait_ready()
    with receiver() as gone:
        gone.answers.put((410, {}))
        notify = start("[hooks]\n" + hook_line("ops", hook.url()) + hook_line("left", gone.url()))
        scan(place, "one")

        def judged(stages: dict[str, Any]) -> bool:
            counted = stages.get("notify", {}).get("counters", {})
            return (counted.get("delivered"), counted.get("hooks_gone")) == (1, 1)

        told = asked(place, judged)["notify"]
    seen = _one("top", "--once", "--json", "--run-dir", str(place.run_dir))["stages"][-1]
    assert (seen["name"], seen["alive"], seen["pid"]) == ("notify", True, notify.popen.pid)
    assert seen["process"]["pid"] == notify.popen.pid
    assert told["messages"] == {"waiting": 0, "delivered": 1, "hooks_failing": 0, "hooks_gone": 1}
    assert "hooks_failing" in told["problems"]
    checks = {
        check["name"]: check for check in _one("doctor", "--json", "--run-dir", str(place.run_dir))["checks"]
    }
    assert checks["notify"]["status"] in ("ok", "warning")
    assert checks["hooks"]["status"] == "warning"
    assert checks["hooks"]["figures"] == {"hooks_failing": 0, "hooks_gone": 1, "waiting": 0}
    notify.stop()
    checks = {check["name"] for check in _one("doctor", "--json", "--run-dir", str(place.run_dir))["checks"]}
    assert checks.isdisjoint({"notify", "hooks"})


def _one(*args: str) -> dict[str, Any]:
    process = Process(*args)
    try:
        process.wait(60)
        document: dict[str, Any] = json.loads(process.output)
        return document
    finally:
        process.close()
