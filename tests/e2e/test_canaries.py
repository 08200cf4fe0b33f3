"""What is secret, and what drives a terminal, is planted everywhere; no log and no command ever shows it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from pipeline import Emitter
from pipeline.sockets import ingest_control, ingest_data, shard_history, shard_in
from tests.e2e.test_accounts import ADMIN, SECRET, A, B, token
from tests.harness import PATIENCE, Pipeline, deadline, private_dir
from tests.sockets.peers import Peers
from tests.sockets.receiver import receiver
from tests.sockets.test_notify import SECRET as HOOK_SECRET
from tests.sockets.test_notify import Notify, hook_line

pytestmark = pytest.mark.timeout(300)

CANARY = "canary-5e1f"
"""Stands in everything that is secret and is none of the tokens."""
DRIVES = "\x1b]0;pwned\x07\x9b31m\u202egnp\u2028\r"
"""Sets a terminal's title, its colour and the direction of a line, and begins another one."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]")
"""What no terminal may be given; a line ends with a line feed, and there may be tabs."""
DEBUG = '[log]\nlevel = "debug"\n'
OF_B = "/api/scans/of-b"
PATHS = (
    "/api/scans", OF_B, f"{OF_B}/hosts", f"{OF_B}/events", f"{OF_B}/export", f"{OF_B}/compare",
    "/api/scans/stats", "/api/connections", "/api/pipeline", "/api/tickets", "/sse/scans/.bad", "/sse/stats",
    "/healthz", "/readyz", "/", "/static/app.js", "/nothing", "/ws/scans/of-b", "/api/ws/scans/of-b",
    "/api/ws/reports/of-b", "/ws/scans", "/ws/stats",
)  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Iterator[tuple[Pipeline, Notify]]:
    """Give a pipeline with accounts and a webhook, in which it has all been planted."""
    with private_dir() as place, ExitStack() as stack:
        (place / "secret").write_bytes(SECRET + b"\n")
        (place / "revoked").write_text(f"{CANARY}-revoked\n")
        made = Pipeline(place, shards=2)
        stack.callback(made.close)
        hook = stack.enter_context(receiver())
        hook.answers.put((500, {}))
        accounts = (
            f'[accounts]\nsecret_file = "{place}/secret"\nrevoked_file = "{place}/revoked"\n'
            "query_token = true\n"
        )
        made.start(config={"edge": accounts + DEBUG, "ingest": DEBUG, "throttle-batch": DEBUG})
        notify = Notify(
            made,
            "[delivery]\nfirst_retry_s = 0.02\nmax_retry_s = 0.1\n[hooks]\n"
            + hook_line("team", hook.url(f"/{CANARY}?key={CANARY}"), "completed")
            + DEBUG,
        )
        stack.callback(notify.close)
        notify.wait_for("ready")
        plant_in_scans(made)
        assert hook.next().path == hook.next().path == f"/{CANARY}?key={CANARY}"
        notify.wait_for("delivered")
        plant_in_requests(made)
        plant_until_logged(made)
        plant_in_sockets(made)
        plant_in_messages(made)
        plant_in_key_files(made, place)
        yield made, notify


def plant_in_scans(made: Pipeline) -> None:
    """Have scans say it: what a scan says is no secret, but drives no terminal."""
    with Emitter("of-b", run_dir=str(made.run_dir)) as emitter:
        emitter.emit(
            {
                "type": "scanStarted",
                "owner": "b",
                "name": DRIVES,
                "targets": [DRIVES],
                "labels": {"x": DRIVES},
                "shared_with": [DRIVES],
            }
        )
        emitter.emit({"type": "phaseStarted", "phase": DRIVES})
        emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": DRIVES})
        emitter.emit({"type": DRIVES, DRIVES: DRIVES})
        emitter.emit({"type": "scanProgress", "progress": DRIVES})
        emitter.emit({"type": "scanCompleted"})
        with contextlib.suppress(Exception):  # some of it is refused, and that is logged
            emitter.flush(20 * PATIENCE)


def plant_in_requests(made: Pipeline) -> None:
    """Bring it as a token, good or bad, a ticket, a body, a key and in headers, to every path."""
    for path in PATHS:
        for bearer in (CANARY, B, token("b", jti=f"{CANARY}-revoked")):
            ask(made, path, {"Authorization": f"Bearer {bearer}"})
            ask(made, f"{path}?token={bearer}&ticket={bearer}&since={CANARY}&{CANARY}={CANARY}", {})
        for name in (
            "Cookie",
            "Idempotency-Key",
            "Last-Event-ID",
            "Sec-WebSocket-Protocol",
            "Proxy-Authorization",
        ):
            ask(made, path, {name: CANARY, "Authorization": f"Bearer {ADMIN}"})
        for name in ("Host", "Origin", "Content-Type", "Accept", "User-Agent", "Referer", "X-Forwarded-For"):
            ask(made, path, {name: DRIVES.replace("\r", "").encode().decode("latin-1")})
        for method in ("POST", "PUT", "DELETE"):
            ask(made, path, {"Authorization": f"Bearer {A}"}, method, f'{{"{CANARY}":'.encode())
    for body in (CANARY, f'{{"type":"{CANARY}', f'{{"scan_id":"{CANARY}"}}', f'{{"stats":"{CANARY}"}}'):
        for path in ("/api/tickets", "/api/scans/of-b/events", "/api/scans/new/events"):
            bearing = {"Authorization": f"Bearer {B}", "Content-Type": "application/json"}
            ask(made, path, bearing, "POST", body.encode())
    ask(made, "/api/scans/%1b]0;x%07%e2%80%ae/hosts", {"Authorization": f"Bearer {B}"})
    ticket = json.loads(
        ask(made, "/api/tickets", {"Authorization": f"Bearer {B}"}, "POST", b'{"scan_id":"nobodys"}')
    )["ticket"]
    TICKETS.append(ticket)
    for _ in range(2):
        ask(made, f"/sse/scans/nobodys?ticket={ticket}", {})


TICKETS: list[str] = []


def ask(
    made: Pipeline, path: str, headers: dict[str, str], method: str = "GET", body: bytes | None = None
) -> bytes:
    """Ask for something, and read the beginning of what is answered."""
    with closing(http.client.HTTPConnection("127.0.0.1", made.port, timeout=20 * PATIENCE)) as connection:
        connection.request(method, path, body, headers)
        with connection.getresponse() as answer:
            if answer.headers["Content-Type"] == "text/event-stream; charset=utf-8":
                return b""
            return answer.read(65_536)


def plant_until_logged(made: Pipeline) -> None:
    """Plant what is refused until a line tells of it: past ten a second they are only counted."""

    def logged(plant: Callable[[], object], **fields: str) -> None:
        end = deadline(60)
        while True:
            plant()
            with contextlib.suppress(AssertionError):
                made.processes["edge-0"].wait_for("refused", 0.5, **fields)
                return
            assert time.monotonic() < end, fields

    protocol = f"scanstream.token.{CANARY}"
    refresh = json.dumps({"action": "refresh", "token": CANARY})
    revoked = token("b", jti=f"{CANARY}-revoked")
    text = "\x9b31m\u202e".encode().decode("latin-1")  # what is below a space is no header at all
    bearing = {"Authorization": f"Bearer {CANARY}"}
    logged(lambda: ask(made, "/api/scans", bearing), reason="token", path="/api/scans")
    logged(lambda: ask(made, f"/api/scans/stats?token={CANARY}", {}), reason="token", path="/api/scans/stats")
    logged(lambda: ask(made, f"/sse/stats?ticket={CANARY}", {}), reason="token", path="/sse/stats")
    logged(lambda: ask(made, f"{OF_B}/hosts?token={revoked}", {}), problem="revoked: revoked")
    logged(
        lambda: ask(made, f"/sse/scans/nobodys?ticket={TICKETS[0]}", {}),
        problem="revoked: the ticket was used before",
    )
    logged(lambda: hear(made, "/ws/scans/of-b", [protocol], []), reason="4401", path="/ws/scans/of-b")
    logged(lambda: hear(made, f"/ws/scans?token={CANARY}", [], []), reason="4401", path="/ws/scans")
    logged(lambda: hear(made, "/ws/stats", [], [refresh]), reason="4401", path="/ws/stats")
    logged(lambda: hear(made, "/api/ws/scans/of-b", [], [CANARY]), reason="4401", path="/api/ws/scans/of-b")
    logged(
        lambda: hear(made, f"/api/ws/scans/of-b?token={CANARY}", [], []),
        reason="4401",
        path="/api/ws/scans/of-b",
    )
    logged(lambda: ask(made, "/readyz", {"Host": f"{CANARY[:3]}.example"}), reason="host", path="/readyz")
    logged(lambda: ask(made, "/api/pipeline", {"Origin": text}), reason="origin", path="/api/pipeline")


def plant_in_sockets(made: Pipeline) -> None:
    """Bring it by WebSockets: in the handshake, in the first message and in later ones."""
    for path in ("/ws/scans/of-b", "/ws/scans", "/ws/stats", "/api/ws/scans/of-b", "/api/ws/reports/of-b"):
        for bearer in (CANARY, B):
            hear(made, path, [f"scanstream.token.{bearer}", "scanstream.v1.json"], [])
            hear(made, f"{path}?token={bearer}", [], [])
            hear(made, path, [], [json.dumps({"action": "refresh", "token": bearer}), CANARY])
        hear(made, path, [f"scanstream.token.{B}"], [json.dumps({"action": "refresh", "token": A})])
        for said in (
            f'{{"action":"{CANARY}"}}',
            f'{{"action":"filter","cidr":"{CANARY}"}}',
            DRIVES,
            CANARY.encode(),
        ):
            hear(made, path, [f"scanstream.token.{B}"], [said])


def hear(made: Pipeline, path: str, protocols: list[str], said: list[str | bytes]) -> None:
    with (
        contextlib.suppress(ConnectionClosed, InvalidStatus, TimeoutError, OSError),
        connect(
            made.ws(path),
            subprotocols=[Subprotocol(each) for each in protocols] or None,
            open_timeout=20 * PATIENCE,
        ) as socket,
    ):
        for message in said:
            socket.send(message)
        # The close frame comes after it and is answered: by then it has been read.


def plant_in_messages(made: Pipeline) -> None:
    """Send it to the sockets of the processes, as nothing that they know."""
    with Peers(made.run_dir) as peers:
        for kind, name in (
            (zmq.PUSH, ingest_data(0)), (zmq.DEALER, ingest_control(0)), (zmq.PUSH, shard_in(0)),
            (zmq.DEALER, shard_history(0)),
        ):  # fmt: skip
            socket = peers.connect(kind, name)
            for message in (
                CANARY, f"E|{CANARY}", f'{{"type":"{CANARY}"}}', f'{{"scan_id":"{DRIVES}","type":"x"}}',
                f'{{"scan_id":"x","type":"hostDiscovered","ip":"{CANARY}{DRIVES}"}}', f"{CANARY}{DRIVES}",
                f'{{"scan_id":"x","type":"scanProgress","progress":"{CANARY}"}}',
            ):  # fmt: skip
                socket.send(message.encode())
        made.processes["ingest-0"].wait_for("rejected")
        for fact in ("malformed envelope", "malformed question"):
            made.processes["throttle-batch-0"].wait_for(fact)


def plant_in_key_files(made: Pipeline, place: Path) -> None:
    """Put it where keys are, and have the edge read them anew: they are no use, and that is said."""
    edge = made.processes["edge-0"]
    for content in (CANARY, f"-----BEGIN PUBLIC KEY-----\n{CANARY}\n-----END PUBLIC KEY-----\n", DRIVES):
        (place / "secret").write_text(content[:31])
        edge.popen.send_signal(signal.SIGHUP)
        edge.wait_for("configuration refused; the old one holds")
    (place / "secret").write_bytes(SECRET + b"\n")
    edge.popen.send_signal(signal.SIGHUP)
    edge.wait_for("configuration read anew")


def secrets() -> list[str]:
    """Return what nobody may be shown, or a part of it that tells."""
    signatures = [each.rpartition(".")[2] for each in (A, B, ADMIN, *TICKETS)]
    assert all(len(each) >= 40 for each in signatures)
    return [CANARY, SECRET.decode(), HOOK_SECRET, HOOK_SECRET.removeprefix("whsec_"), *signatures]


def lines_of(process: Any) -> str:
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in process.lines)


@pytest.mark.parametrize("name", ["edge-0", "ingest-0", "throttle-batch-0", "notify"])
def test_no_log_holds_a_secret_or_drives_a_terminal(planted: tuple[Pipeline, Notify], name: str) -> None:
    made, notify = planted
    process = notify if name == "notify" else made.processes[name]
    assert len(process.lines) > 1
    texts = [str(value) for line in process.lines for value in line.values()]
    assert not [text for text in texts if RAW.search(text)]
    said = lines_of(process)
    # What an event says is no secret of ours: of one that is refused, a short piece may stand in the log.
    told = [each for each in secrets() if each != CANARY or name not in ("ingest-0", "throttle-batch-0")]
    for secret in told:
        assert secret not in said


def test_what_was_planted_was_met(planted: tuple[Pipeline, Notify]) -> None:
    made, notify = planted
    assert "request" in {line.get("fact") for line in made.processes["edge-0"].lines}
    for fact in ("rejected", "malformed control message"):
        assert fact in {line.get("fact") for line in made.processes["ingest-0"].lines}
    assert "not delivered" in lines_of(notify)


@pytest.mark.parametrize(
    "command",
    [
        ("top", "--once"), ("top", "--json"), ("doctor",), ("doctor", "--json"),
        ("tail", "--scan", "of-b", "--until-complete"), ("scan", "list"), ("scan", "show", "of-b"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_shows_a_secret_or_drives_a_terminal(
    planted: tuple[Pipeline, Notify], command: tuple[str, ...]
) -> None:
    made, _ = planted
    file = made.run_dir.parent / "token"
    file.write_text(ADMIN)
    where = ["--token-file", str(file)] if command[0] in ("scan", "doctor") else []
    where += ["--edge", made.url] if command[0] in ("scan", "doctor") else []
    where += ["--run-dir", str(made.run_dir)] if command[0] != "scan" else []
    shown(*command, *where)


def shown(*args: str) -> str:
    """Run a command; return what it showed, which holds nothing that was planted."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *args], capture_output=True, timeout=60 * PATIENCE, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert said
    assert not RAW.search(said), said
    for secret in secrets():
        assert secret not in said
    return said


def test_tail_as_it_comes_drives_no_terminal(planted: tuple[Pipeline, Notify]) -> None:
    made, _ = planted
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "tail", "--run-dir", str(made.run_dir), "-n", "3"],
        stdout=subprocess.PIPE,
    ) as tail:
        with Emitter("hostile", run_dir=str(made.run_dir)) as emitter:
            while tail.poll() is None:  # until it has subscribed and has three of them
                emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.6", "hostname": DRIVES})
                emitter.emit({"type": DRIVES, DRIVES: DRIVES})
                emitter.flush(20 * PATIENCE)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    tail.wait(0.1)
        said = tail.stdout.read().decode()  # type: ignore[union-attr]
    assert said.count("\n") >= 3
    assert "pwned" in said
    assert not RAW.search(said)


@pytest.mark.parametrize("content", [CANARY, f"{CANARY}.{CANARY}.{CANARY}", f"{CANARY} {DRIVES}"])
def test_a_commands_own_files_are_not_shown(
    planted: tuple[Pipeline, Notify], tmp_path: Path, content: str
) -> None:
    made, _ = planted
    file = tmp_path / "file"
    file.write_text(content)
    for command in (
        ("scan", "list", "--edge", made.url, "--token-file", str(file)),
        ("doctor", "--run-dir", str(made.run_dir), "--edge", made.url, "--token-file", str(file)),
        ("token", "mint", "--secret-file", str(file), "--subject", "x"),
        ("token", "mint", "--private-key-file", str(file), "--algorithm", "ES256", "--subject", "x"),
        ("token", "check", "--public-key-file", str(file), "--algorithm", "ES256"),
    ):
        shown(*command)
