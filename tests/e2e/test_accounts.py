"""Accounts: who brings no token gets nothing, and nobody gets anything of a scan that is not theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tornado.web import RequestHandler
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from pipeline import Emitter
from pipeline.edge.handlers.guarded import Guarded
from pipeline.edge.handlers.page import Page
from pipeline.edge.handlers.websocket import BrowserSocket
from pipeline.edge.stage import application
from pipeline.tokens import mint
from tests.harness import PATIENCE, Pipeline, deadline, private_dir

SECRET = b"a secret of more than thirty-two bytes"
MARK = "unmistakable"
"""Stands in everything that B's scan says."""
SHARED = "shared"
"""Stands in that which is shared with A."""
PUBLIC = {"/healthz", "/readyz", "/", "/static/app.js"}


LASTS_S = 6 * 3_600
"""Some are made when this file is read, which may be long before the last test."""
LEEWAY_S = 5
"""A token is accepted for so long after its end."""


def wall_s() -> float:
    return time.time()  # noqa: TID251  # what a token says is wall clock


def token(subject: str, **more: Any) -> str:
    now = wall_s()
    claims = {"sub": subject, "iss": "scanstream", "aud": "scanstream", "iat": now - 1, "exp": now + LASTS_S}
    return mint(SECRET, "HS256", {**claims, **more})


A, B, ADMIN = token("a"), token("b"), token("root", role="admin")


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """Give a pipeline with accounts, a scan of B's that runs and one that has ended."""
    with private_dir() as place, ExitStack() as stack:
        secret = place / "secret"
        secret.write_bytes(SECRET + b"\n")
        made = Pipeline(place)
        stack.callback(made.close)
        accounts = f'[accounts]\nsecret_file = "{secret}"\nfirst_message_s = {PATIENCE}\nquery_token = true\n'
        made.start(config={"edge": accounts, "throttle-batch": "[cleanup]\ncleanup_after_s = 600\n"})
        for scan, ends in (("of-b", False), ("of-b-over", True), ("shared-by-b", False)):
            emitter = stack.enter_context(Emitter(scan, run_dir=str(made.run_dir)))
            shared = {"shared_with": ["a"]} if scan.startswith("shared") else {}
            name = SHARED if shared else MARK
            emitter.emit({"type": "scanStarted", "name": name, "owner": "b", "targets": [name], **shared})
            emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": name})
            if ends:
                emitter.emit({"type": "scanCompleted"})
            emitter.flush(20 * PATIENCE)
        yield made


def ask(
    pipeline: Pipeline, path: str, bearer: str | None = None, method: str = "GET", body: bytes | None = None
) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    if body is not None:
        headers["Content-Type"] = "application/x-ndjson"
    request = urllib.request.Request(f"{pipeline.url}{path}", headers=headers, method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=10 * PATIENCE) as answer:
            return answer.status, answer.read(1 << 20).decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def routes() -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return (path of B's scan, handler, its arguments) of every route of an edge, as its router has them."""

    class Bare:
        config = type("Config", (), {"http": type("Http", (), {"base_path": "/"})})
        log = None

    found = []
    [rules] = [
        rule.target.rules
        for rule in application(Bare()).default_router.rules  # type: ignore[arg-type]  # it is only looked at
        if hasattr(rule.target, "rules")
    ]
    for rule in rules:
        path = (
            rule.matcher.regex.pattern.removesuffix("$").replace("([^/]+)", "of-b").replace("(.*)", "app.js")
        )
        found.append((path.replace("()", "").replace("\\", ""), rule.target, rule.target_kwargs))
    return found


ROUTES = routes()


def test_the_router_was_read() -> None:
    paths = [path for path, _, _ in ROUTES]
    assert {"/api/scans/of-b", "/ws/scans/of-b", "/sse/scans/of-b", "/api/scans/of-b/export"} <= set(paths)
    assert len(paths) >= 20


@pytest.mark.parametrize(("path", "handler"), [(path, handler) for path, handler, _ in ROUTES])
def test_without_a_token_no_route_gives_a_byte(pipeline: Pipeline, path: str, handler: type[Any]) -> None:
    if issubclass(handler, BrowserSocket):
        code, heard = watch(pipeline, path, None)
        assert (code, heard) == (4401, [])
        return
    methods = [name for name in ("GET", "POST", "DELETE") if handler_has(handler, name)]
    for method in methods:
        status, body = ask(pipeline, path, method=method, body=b"{}" if method == "POST" else None)
        if path in PUBLIC:
            assert status == 200
        else:
            refused = (401, {"error": "a token is needed"}), (405, {"error": "Method Not Allowed"})
            assert (status, json.loads(body)) in refused, path
        assert MARK not in body


@pytest.mark.parametrize(("path", "handler"), [(path, handler) for path, handler, _ in ROUTES])
def test_no_route_gives_anything_of_anothers_scan(pipeline: Pipeline, path: str, handler: type[Any]) -> None:
    if issubclass(handler, BrowserSocket):
        _, heard = watch(pipeline, path, A, until=6, subscribe="of-b" if path == "/ws/scans" else None)
        assert MARK not in json.dumps(heard)
        assert "of-b" not in json.dumps([each for each in heard if each["type"] not in ("hello", "error")])
        for each in heard:
            if each["type"] == "hello":
                assert (each["epoch"], each["seq"]) == (None, 0), "it looks as if it were not there"
        return
    if path.startswith("/sse/"):
        with stream(pipeline, path, A) as answer:
            assert MARK.encode() not in answer.read1(65_536)
        return
    for query in ("", "?epoch=1", "?with=of-b-over", "?past=true"):
        for method in ("GET", "DELETE", "POST"):
            if not handler_has(handler, method):
                continue
            event = b'{"type":"error","message":"ended by another"}\n'
            status, body = ask(pipeline, path + query, A, method, event if method == "POST" else None)
            assert MARK not in body
            if "/of-b" in path:
                assert status in {400, 404, 405}, (method, path, body)


def test_unknown_and_forbidden_look_the_same(pipeline: Pipeline) -> None:
    for rest in ("", "/hosts", "/events", "/export", "/compare"):
        forbidden, unknown = (ask(pipeline, f"/api/scans/{scan}{rest}", A) for scan in ("of-b", "nobodys"))
        assert forbidden == unknown == (404, '{"error":"no such scan"}')


def handler_has(handler: type[Any], method: str) -> bool:
    return getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())


def stream(pipeline: Pipeline, path: str, bearer: str) -> Any:
    request = urllib.request.Request(pipeline.url + path, headers={"Authorization": f"Bearer {bearer}"})
    return urllib.request.urlopen(request, timeout=10 * PATIENCE)


def watch(
    pipeline: Pipeline,
    path: str,
    bearer: str | None,
    *,
    until: float = 10,
    subscribe: str | None = None,
    first: str | None = None,
    enough: int = 1_000,
) -> tuple[int | None, list[dict[str, Any]]]:
    """Return (close code; None when it is still open, what was heard)."""
    heard: list[dict[str, Any]] = []
    with open_socket(pipeline, path, bearer) as socket:
        if first is not None:
            socket.send(first)
        if subscribe is not None:
            socket.send(json.dumps({"action": "subscribe", "scan_id": subscribe}))
            socket.send(json.dumps({"action": "subscribe", "stats": True}))
        end = deadline(until / 4 if bearer or first else until)
        try:
            while (left := end - time.monotonic()) > 0 and len(heard) < enough:
                heard.append(json.loads(socket.recv(timeout=left)))
        except TimeoutError:
            return None, heard
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            return code, [each for each in heard if each["type"] != "closing"]
    return None, heard


def open_socket(pipeline: Pipeline, path: str, bearer: str | None) -> ClientConnection:
    protocols = [Subprotocol("scanstream.v1.json")]
    if bearer is not None:
        protocols.append(Subprotocol(f"scanstream.token.{bearer}"))
    native = not path.startswith("/api/")
    return connect(
        pipeline.ws(path),
        subprotocols=protocols if native or bearer else None,
        open_timeout=10 * PATIENCE,
        max_size=None,
    )


def test_its_owner_whom_it_is_shared_with_and_an_admin_see_a_scan(pipeline: Pipeline) -> None:
    for bearer, scan in (
        (B, "of-b"),
        (A, "shared-by-b"),
        (ADMIN, "of-b"),
        (token("c", scans=["of-*"]), "of-b"),
    ):
        status, body = ask(pipeline, f"/api/scans/{scan}", bearer)
        assert (status, json.loads(body)["name"]) == (200, SHARED if scan == "shared-by-b" else MARK)
        code, heard = watch(pipeline, f"/ws/scans/{scan}", bearer, enough=2)
        assert [each["type"] for each in heard] == ["hello", "snapshot"]
        assert code is None


def test_lists_and_statistics_hold_what_may_be_seen(pipeline: Pipeline) -> None:
    def seen(bearer: str) -> set[str]:
        return {scan["scan_id"] for scan in json.loads(ask(pipeline, "/api/scans", bearer)[1])["scans"]}

    assert seen(A) == {"shared-by-b"}
    assert seen(B) == seen(ADMIN) == {"of-b", "of-b-over", "shared-by-b"}
    statistics = json.loads(ask(pipeline, "/api/scans/stats", A)[1])
    assert (statistics["total_scans"], statistics["total_hosts"]) == (1, 1)
    _, heard = watch(pipeline, "/ws/stats", A, enough=1)
    assert [scan["scan_id"] for scan in heard[0]["scans"]] == ["shared-by-b"]


def test_what_changes_in_the_statistics_of_others_is_not_told(pipeline: Pipeline) -> None:
    with (
        open_socket(pipeline, "/ws/stats", A) as socket,
        Emitter("news-of-a", run_dir=str(pipeline.run_dir)) as own,
        Emitter("news-of-b", run_dir=str(pipeline.run_dir)) as others,
    ):
        assert json.loads(socket.recv(timeout=10 * PATIENCE))["whole"] is True
        others.emit({"type": "scanStarted", "owner": "b"})
        others.emit({"type": "scanCompleted"})
        others.flush(20 * PATIENCE)
        own.emit({"type": "scanStarted", "owner": "a"})
        own.flush(20 * PATIENCE)
        heard = ""
        while '"news-of-a"' not in heard:
            heard += str(socket.recv(timeout=10 * PATIENCE))
        assert "news-of-b" not in heard


def test_only_an_admin_operates(pipeline: Pipeline) -> None:
    for path in ("/api/connections", "/api/pipeline"):
        assert ask(pipeline, path, B)[0] == 403
        assert ask(pipeline, path, ADMIN)[0] == 200


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("rubbish", "malformed"),
        (mint(b"another secret of thirty-two bytes!!", "HS256", {"sub": "b"}), "signature"),
        (token("b", exp=1_000_000_000), "expired"),
        (token("b", aud="others"), "audience"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_a_bad_token_is_refused_and_the_reason_logged(pipeline: Pipeline, bad: str, why: str) -> None:
    status, body = ask(pipeline, "/api/scans/of-b", bad)
    assert status == 401
    assert bad not in body
    code, heard = watch(pipeline, "/ws/scans/of-b", bad)
    assert (code, heard) == (4401, [])
    pipeline.processes["edge-0"].wait_for("refused", reason="token")


def test_the_first_message_may_bring_the_token(pipeline: Pipeline) -> None:
    said = json.dumps({"action": "refresh", "token": B})
    _, heard = watch(pipeline, "/ws/scans/of-b", None, first=said, enough=2)
    assert [each["type"] for each in heard] == ["hello", "snapshot"]
    for wrong in ('{"action":"ping"}', json.dumps({"action": "refresh", "token": "x"}), "rubbish"):
        assert watch(pipeline, "/ws/scans/of-b", None, first=wrong) == (4401, [])


def test_heroforges_frontend_brings_it_in_the_address(pipeline: Pipeline) -> None:
    with connect(pipeline.ws(f"/api/ws/scans/nobodys?token={B}")) as socket:
        assert json.loads(socket.recv(timeout=10 * PATIENCE))["message"] == "Scan channel not found"
    with connect(pipeline.ws(f"/api/ws/scans/of-b?token={A}")) as socket:
        assert json.loads(socket.recv(timeout=10 * PATIENCE))["message"] == "Scan channel not found"


def test_a_token_ends_and_is_refreshed(pipeline: Pipeline) -> None:
    def lasts(seconds: float) -> str:
        return token("b", exp=wall_s() + seconds - LEEWAY_S)

    over = wall_s() + 2 * PATIENCE
    with open_socket(pipeline, "/ws/scans/of-b", lasts(2 * PATIENCE)) as socket:
        socket.send(json.dumps({"action": "refresh", "token": B}))
        assert hear_out(socket, over + 3 - wall_s()) is None
    with open_socket(pipeline, "/ws/scans/of-b", lasts(2 * PATIENCE)) as socket:
        assert hear_out(socket, 15 * PATIENCE) == 4401


def test_a_refresh_is_of_the_same_subject_and_what_it_may_see_counts_at_once(pipeline: Pipeline) -> None:
    with open_socket(pipeline, "/ws/scans/of-b", B) as socket:
        socket.send(json.dumps({"action": "refresh", "token": A}))
        assert hear_out(socket, 10 * PATIENCE) == 4401
    wide, narrow = token("c", scans=["of-b"]), token("c")
    with open_socket(pipeline, "/ws/scans/of-b", wide) as socket:
        assert json.loads(socket.recv(timeout=10 * PATIENCE))["seq"] > 0
        socket.send(json.dumps({"action": "refresh", "token": narrow}))
        assert hear_out(socket, 10 * PATIENCE) == 4404


def hear_out(socket: ClientConnection, seconds: float) -> int | None:
    """Hear a connection out; return its close code, or None when it is open after so many quiet seconds."""
    try:
        while True:
            socket.recv(timeout=seconds)
    except TimeoutError:
        return None
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


def test_events_are_posted_by_whose_scan_it_is(pipeline: Pipeline) -> None:
    def post(scan: str, bearer: str, *events: dict[str, Any]) -> int:
        body = "\n".join(map(json.dumps, events)).encode()
        return ask(pipeline, f"/api/scans/{scan}/events", bearer, "POST", body)[0]

    found = {"type": "hostDiscovered", "ip": "10.0.0.7"}
    assert post("posted", A, {"type": "scanStarted", "owner": "a"}, found) == 200
    assert post("posted", A, found) == 200
    assert post("posted", B, found) == 404
    assert post("posted", ADMIN, found) == 200
    assert post("shared-by-b", A, found) == 404, "it may be read, not written"
    assert post("new", A, found) == 403
    assert post("new", A, {"type": "scanStarted"}) == 403
    assert post("new", A, {"type": "scanStarted", "owner": "b"}) == 403
    assert post("posted", A, {"type": "scanStarted", "owner": "b"}) == 403


def test_whoever_sends_events_cannot_take_a_scan_over(pipeline: Pipeline) -> None:
    with Emitter("of-b", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted", "owner": "a", "name": MARK, "shared_with": ["a"]})
        emitter.flush(20 * PATIENCE)
        assert ask(pipeline, "/api/scans/of-b", A)[0] == 404
        assert ask(pipeline, "/api/scans/of-b", B)[0] == 200


def test_only_its_owner_and_an_admin_delete_a_scan(pipeline: Pipeline) -> None:
    for scan, owner in (("gone-1", "a"), ("gone-2", "b")):
        with Emitter(scan, run_dir=str(pipeline.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted", "owner": owner, "shared_with": ["c"]})
            emitter.emit({"type": "scanCompleted"})
            emitter.flush(20 * PATIENCE)
    assert ask(pipeline, "/api/scans/gone-1", token("c"), "DELETE")[0] == 404
    assert ask(pipeline, "/api/scans/gone-1", A, "DELETE")[0] == 200
    assert ask(pipeline, "/api/scans/gone-2", ADMIN, "DELETE")[0] == 200


def test_a_later_life_of_anothers_ends_what_is_read_and_the_earlier_one_is_not_given(
    pipeline: Pipeline,
) -> None:
    with Emitter("lives", run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted", "owner": "a", "name": MARK})
        emitter.emit({"type": "scanCompleted"})
        emitter.flush(20 * PATIENCE)
        with open_socket(pipeline, "/ws/scans/lives", A) as socket:
            hello = json.loads(socket.recv(timeout=10 * PATIENCE))
            assert hello["seq"] == 2
            emitter.emit({"type": "scanStarted", "owner": "b"})
            emitter.flush(20 * PATIENCE)
            assert hear_out(socket, 10 * PATIENCE) == 4404
        code, heard = watch(pipeline, f"/ws/scans/lives?since={hello['epoch']}:0", B, until=4)
        assert (code, heard[0]["resumed"]) == (None, False)
        assert MARK not in json.dumps(heard)
        for path in (
            f"/api/scans/lives?epoch={hello['epoch']}",
            f"/api/scans/lives/hosts?epoch={hello['epoch']}",
        ):
            assert ask(pipeline, path, B)[0] == 404
            assert ask(pipeline, path, A)[0] == 200
        assert MARK not in ask(pipeline, f"/api/scans/lives/events?since={hello['epoch']}:0", B)[1]


def test_who_waits_for_a_scan_gets_it_if_it_is_theirs(pipeline: Pipeline) -> None:
    with (
        open_socket(pipeline, "/ws/scans/to-come", A) as mine,
        open_socket(pipeline, "/ws/scans/to-come", B) as others,
    ):
        for socket in (mine, others):
            assert json.loads(socket.recv(timeout=10 * PATIENCE))["epoch"] is None
        with Emitter("to-come", run_dir=str(pipeline.run_dir)) as emitter:
            emitter.emit({"type": "scanStarted", "owner": "a", "name": MARK})
            emitter.flush(20 * PATIENCE)
            batch = json.loads(mine.recv(timeout=10 * PATIENCE))
            assert (batch["type"], batch["events"][0]["name"]) == ("batch", MARK)
            with pytest.raises(TimeoutError):
                others.recv(timeout=1)


def test_no_token_is_in_any_log(pipeline: Pipeline) -> None:
    ask(pipeline, f"/api/scans/of-b?token={B}")
    lines = "\n".join(json.dumps(line) for line in pipeline.processes["edge-0"].lines)
    for secret in (A, B, ADMIN, SECRET.decode()):
        assert secret not in lines


def test_every_route_of_one_scan_is_guarded() -> None:
    for path, handler, _ in ROUTES:
        assert issubclass(handler, Guarded | BrowserSocket | Page), path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('secret_file = "{place}/none"', "No such file"),
        ('secret_file = "{place}/short"', "the secret has 5 bytes; at least 32 are needed"),
        ('secret_file = "{place}/empty"', "is empty"),
        ('secret_file = "{place}/secret"\nalgorithm = "RS256"', "algorithm = 'RS256': must be one of HS256"),
        ('public_key_file = "{place}/short"\nalgorithm = "ES256"', "is no public key in PEM"),
        ("query_token = true", "query_token: needs secret_file, public_key_file or jwks_url"),
    ],
)
def test_accounts_that_cannot_be_used_are_refused_at_the_start(text: str, problem: str) -> None:
    with private_dir() as place, ExitStack() as stack:
        for name, content in (("short", b"short"), ("empty", b"\n"), ("secret", SECRET)):
            (place / name).write_bytes(content)
        made = Pipeline(place)
        stack.callback(made.close)
        edge = made.start_one("edge-0", config={"edge": "[accounts]\n" + text.format(place=place)})
        assert edge.wait() == 78
        assert problem in edge.errors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[http]\naddress = "0.0.0.0"\n', "set [accounts] secret_file or public_key_file"),
        ('[http]\naddress = "0.0.0.0"\n[accounts]\nsecret_file = "s"\n', "needs hosts"),
    ],
)
def test_beyond_loopback_only_with_accounts_and_names(text: str, problem: str) -> None:
    with private_dir() as place, ExitStack() as stack:
        made = Pipeline(place)
        stack.callback(made.close)
        edge = made.start_one("edge-0", config={"edge": text})
        assert edge.wait() == 78
        assert problem in edge.errors
        assert "\n" not in edge.errors


# --- tickets --------------------------------------------------------------------------------------


def ticket(pipeline: Pipeline, bearer: str, **asked: Any) -> str:
    status, body = ask(pipeline, "/api/tickets", bearer, "POST", json.dumps(asked).encode())
    assert status == 200, body
    answer = json.loads(body)
    assert 0 < answer["expires_in_s"] <= 30
    return str(answer["ticket"])


def begins(url: str, path: str, text: str) -> tuple[int, bytes]:
    """Return (status, the beginning of what is given) of a stream that is asked for with a ticket."""
    try:
        with urllib.request.urlopen(f"{url}{path}?ticket={text}", timeout=10 * PATIENCE) as answer:
            return answer.status, answer.read1(65_536)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_ticket_opens_the_stream_it_is_for_once(pipeline: Pipeline) -> None:
    of_b = ticket(pipeline, B, scan_id="of-b")
    for path in ("/sse/scans/nobodys", "/sse/stats", "/sse/scans/shared-by-b"):
        status, said = begins(pipeline.url, path, of_b)
        assert (status, json.loads(said)["error"]) == (401, "the ticket is for another stream")
    status, said = begins(pipeline.url, "/sse/scans/of-b", of_b)
    assert status == 200
    assert b"hello" in said
    status, said = begins(pipeline.url, "/sse/scans/of-b", of_b)
    assert (status, json.loads(said)["error"]) == (401, "the ticket was used before")
    status, said = begins(pipeline.url, "/sse/stats", ticket(pipeline, A, stats=True))
    assert status == 200
    assert b"shared-by-b" in said
    assert b'"of-b"' not in said


def test_a_ticket_gives_no_more_than_its_token(pipeline: Pipeline) -> None:
    status, said = begins(pipeline.url, "/sse/scans/of-b", ticket(pipeline, A, scan_id="of-b"))
    assert status == 200
    assert b'"epoch":null' in said
    assert MARK.encode() not in said
    assert ask(pipeline, f"/api/scans/of-b?ticket={ticket(pipeline, B, scan_id='of-b')}")[0] == 401


@pytest.mark.parametrize("forged", ["x", "x.y", ".", "e30.AAAA"])
def test_a_forged_ticket_is_refused(pipeline: Pipeline, forged: str) -> None:
    assert begins(pipeline.url, "/sse/scans/of-b", forged)[0] == 401


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"scan_id":"a","stats":true}', b'{"scan_id":".x"}', b"[" * 5_000]
)
def test_a_ticket_is_for_one_stream(pipeline: Pipeline, body: bytes) -> None:
    assert ask(pipeline, "/api/tickets", A, "POST", body)[0] == 400


def test_what_opens_streams_is_the_users_own_and_in_no_log(pipeline: Pipeline) -> None:
    text = ticket(pipeline, B, scan_id="of-b")
    assert begins(pipeline.url, "/sse/scans/of-b", text)[0] == 200
    assert begins(pipeline.url, "/sse/scans/of-b", text)[0] == 401
    key, used = pipeline.run_dir / "tickets.key", pipeline.run_dir / "tickets"
    assert (key.stat().st_mode & 0o777, used.stat().st_mode & 0o777) == (0o600, 0o700)
    pipeline.processes["edge-0"].wait_for("refused", reason="token")
    assert text not in json.dumps(pipeline.processes["edge-0"].lines)


# --- commands -------------------------------------------------------------------------------------


def test_a_command_brings_the_token_of_a_file(pipeline: Pipeline) -> None:
    file = pipeline.run_dir.parent / "token"

    def show(scan: str, bearer: str | None) -> tuple[int, str]:
        command = [sys.executable, "-m", "pipeline", "scan", "show", scan, "--edge", pipeline.url]
        environment = dict(os.environ)
        if bearer is not None:
            file.write_text(f"{bearer}\n")
            environment["PIPELINE_TOKEN_FILE"] = str(file)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30 * PATIENCE, check=False
        )
        assert bearer is None or bearer not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    assert show("of-b", None) == (1, "error: a token is needed\n")
    code, said = show("of-b", B)
    assert (code, MARK in said) == (0, True)
    code, said = show("of-b", A)
    assert (code, MARK in said) == (1, False)


@pytest.mark.parametrize(
    ("bearer", "why"),
    [
        (ADMIN, None),
        (None, '401: {"error":"a token is needed"}'),
        (B, '403: {"error":"the role admin is needed"}'),
        ("a.b.c", '401: {"error":"no token"}'),
        (token("root", role="admin", exp=1_000_000_000), '401: {"error":"expired '),
    ],
    ids=["admin", "none", "user", "rubbish", "expired"],
)
def test_the_doctor_says_whose_token_is_needed(
    pipeline: Pipeline, bearer: str | None, why: str | None
) -> None:
    command = ["doctor", "--json", "--run-dir", str(pipeline.run_dir), "--edge", pipeline.url]
    if bearer is not None:
        file = pipeline.run_dir.parent / "doctor-token"
        file.write_text(f"{bearer}\n")
        command += ["--token-file", str(file)]
    code, said = run(*command)
    hop = next(check for check in json.loads(said)["checks"] if check["name"] == "websocket")
    if why is None:
        assert (code, hop["status"]) == (0, "ok"), hop
    else:
        assert (code, hop["status"]) == (1, "failed")
        assert f"the edge has accounts, and answers {why}" in hop["text"]
        assert "token of the role admin: --token-file" in hop["remedy"]
    assert bearer is None or bearer not in said


def test_top_and_tail_are_the_operators_own_and_need_no_token(pipeline: Pipeline) -> None:
    where = ["--run-dir", str(pipeline.run_dir)]
    code, said = run("top", "--json", *where)
    assert (code, "of-b" in said) == (0, True)
    code, said = run("tail", *where, "--scan", "of-b-over", "--until-complete")
    assert (code, said) == (0, "scan/of-b-over is over already: completed\n")


def run(*args: str) -> tuple[int, str]:
    """Run a command of the pipeline; return (exit code, what it said)."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *args],
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_list_of_past_scans_tells_nothing_of_those_between() -> None:
    with private_dir() as place, ExitStack() as stack:
        (place / "secret").write_bytes(SECRET)
        made = Pipeline(place, shards=2)
        stack.callback(made.close)
        made.start(
            config={
                "edge": f'[accounts]\nsecret_file = "{place}/secret"\n',
                "throttle-batch": "[cleanup]\ncleanup_after_s = 0.1\n",
            }
        )
        owners = "bababb"
        for number, owner in enumerate(owners):
            with Emitter(f"past-{number}", run_dir=str(made.run_dir)) as emitter:
                emitter.emit({"type": "scanStarted", "owner": owner})
                emitter.emit({"type": "scanCompleted"})
                emitter.flush(20 * PATIENCE)

        def past(bearer: str, rest: str = "") -> Any:
            return json.loads(ask(made, f"/api/scans?past=true&limit=1{rest}", bearer)[1])

        end = deadline(30)
        while len(json.loads(ask(made, "/api/scans?past=true", ADMIN)[1])["scans"]) < len(owners):
            assert time.monotonic() < end
        assert past(token("c")) == {"scans": [], "next": None, "complete": True}
        found, following = [], ""
        for _ in range(2):
            page = past(A, following)
            found += [scan["scan_id"] for scan in page["scans"]]
            following = f"&after={page['next']}"
        assert (found, page["next"]) == (["past-3", "past-1"], None)
        assert past(token("c", scans=["past-0"]))["next"] is None
