"""A running edge answers and streams what docs/openapi.yaml and docs/asyncapi.yaml say: no less, no more."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from websockets.sync.client import connect

from pipeline import Emitter
from tests.harness import PATIENCE, Pipeline, deadline, next_sent, private_dir
from tests.specs.printing import EVENTS
from tests.specs.test_documents import document

ABOUT = {"name": "office", "targets": ["10.0.0.0/24"], "labels": {"site": "Berlin"}, "owner": "ann"}
FOUND: list[dict[str, object]] = [
    {"type": "phaseStarted", "phase": "ports", "progress": 10},
    {"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": "a.example"},
    {"type": "portFound", "ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"},
    {"type": "serviceDetected", "ip": "10.0.0.5", "port": 443, "service_name": "https", "version": "1"},
    {"type": "serviceDetected", "ip": "10.0.0.6", "port": 80, "service_name": "http"},
    {"type": "vulnerabilityFound", "ip": "10.0.0.5", "severity": "High", "title": "T", "cve_id": "C-1"},
    {"type": "dnsRecordFound", "domain": "a.example", "record_type": "A", "value": "10.0.0.5"},
    {"type": "enumerationFinding", "ip": "10.0.0.5", "port": 443, "finding_type": "t", "value": "v"},
    {"type": "scanProgress", "phase": "ports", "progress": 20},
    {"type": "scanProgress", "phase": "ports", "progress": 40},
    {"type": "somethingElse", "of": ["its", "own"]},
]
END: dict[str, object] = {"type": "scanCompleted", "duration": 1.5}
CLEANUP = {"throttle-batch": "[cleanup]\ncleanup_after_s = 0.1\n"}


def send(pipeline: Pipeline, scan_id: str, *events: dict[str, object]) -> None:
    with Emitter(scan_id, run_dir=str(pipeline.run_dir)) as emitter:
        for event in events:
            emitter.emit(event)


@pytest.fixture(scope="module")
def running() -> Iterator[Pipeline]:
    """Give a pipeline with two past scans, and one that runs."""
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start(config=CLEANUP)
            send(pipeline, "before", {"type": "scanStarted", **ABOUT}, *FOUND[:4], END)
            send(pipeline, "after", {"type": "scanStarted", **ABOUT}, *FOUND, END)
            send(pipeline, "failed", {"type": "scanStarted"}, {"type": "error", "message": "no route"})
            send(pipeline, "live", {"type": "scanStarted", **ABOUT}, *FOUND)
            end = deadline(20)
            while len(pipeline.get("/api/scans?past=true")[1]["scans"]) < 3:
                assert time.monotonic() < end
            yield pipeline
        finally:
            pipeline.close()


def strict(schema: Any, inside: bool = False) -> Any:
    """Return a schema under which an object has no field that the schema does not tell.

    Args:
        schema: of the documents.
        inside: it is a part of an `allOf`: the whole is judged.
    """
    if isinstance(schema, list):
        return [strict(each, inside) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value, inside=key == "allOf") for key, value in schema.items()}
    if not inside and ("properties" in schema or "allOf" in schema) and "additionalProperties" not in schema:
        made["unevaluatedProperties"] = False
    return made


def checker(name: str, schema: dict[str, Any]) -> Draft202012Validator:
    """Return what checks a value against a schema of a document: to the letter, but for events."""
    parts = {"StateDocument", "Totals", "Posted", "Faults"}
    loose = {kind.__name__ for kind in EVENTS} | {"UnknownEvent", "Event", "ExportedScan"}
    made = {
        each: value if each in loose else strict(value, inside=each in parts)
        for each, value in document(name)["components"]["schemas"].items()
    }
    return Draft202012Validator({"components": {"schemas": made}, **strict(schema)})


def problems(check: Draft202012Validator, value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}"[:300] for error in check.iter_errors(value)]


def ask(pipeline: Pipeline, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    """Return (status, media type, JSON or text) of an answer."""
    request = urllib.request.Request(f"{pipeline.url}{path}", method=method, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20 * PATIENCE) as answer:
            status, kind, raw = answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, kind, raw = error.code, error.headers.get_content_type(), error.read()
    return status, kind, json.loads(raw) if kind == "application/json" else raw.decode()


def operation(method: str, path: str) -> dict[str, Any]:
    """Return what the document says of a request: the path as written, else the one it fits."""
    paths = document("openapi.yaml")["paths"]
    plain = path.partition("?")[0]
    parts = plain.split("/")
    for known in sorted(paths, key=lambda each: each.count("{")):
        template = known.split("/")
        if len(template) == len(parts) and all(
            mine == theirs or mine.startswith("{") for mine, theirs in zip(template, parts, strict=True)
        ):
            found = paths[known][method.lower()]
            assert isinstance(found, dict)
            return found
    raise AssertionError(f"{path} is not told")


NDJSON = {"Content-Type": "application/x-ndjson"}
PORT = b'{"type":"portFound","ip":"10.0.0.9","port":%d,"protocol":"TCP","state":"Open"}\n'
GOOD = """
/api/scans /api/scans?past=true&limit=2 /api/scans?past=true&search=berlin /api/scans/stats
/api/scans/live /api/scans/after /api/scans/failed
/api/scans/live/hosts /api/scans/after/hosts?after=1&limit=1
/api/scans/live/events /api/scans/after/events?limit=3
/api/scans/live/events?types=portFound&cidr=10.0.0.0/8&min_severity=High&level=all
/api/scans/after/export /api/scans/after/export?format=ndjson /api/scans/after/export?format=csv
/api/scans/after/export?format=html /api/scans/after/compare /api/scans/after/compare?with=before
/api/connections /api/pipeline /healthz /readyz / /static/app.js /static/style.css
"""
BAD = """
/api/scans?past=yes /api/scans?limit=0 /api/scans/live?epoch=x /api/scans/live/hosts?limit=0
/api/scans/live/events?since=x /api/scans/after/export?format=pdf /api/scans/after/compare?with=%40
/api/connections?limit=x /sse/scans/live?since=x
"""
ABSENT = """
/api/scans/nobody /api/scans/.x /api/scans/nobody/hosts /api/scans/nobody/events /api/scans/nobody/export
/api/scans/before/compare /sse/scans/.x /static/nothing
"""
EVIL = {"Host": "evil.example"}
REQUESTS: list[tuple[int, str, str, bytes | None, dict[str, str]]] = [
    *((200, "GET", path, None, {}) for path in GOOD.split()),
    *((400, "GET", path, None, {}) for path in BAD.split()),
    *((404, "GET", path, None, {}) for path in ABSENT.split()),
    *((403, "GET", path, None, EVIL) for path in ("/api/scans", "/")),
    (409, "DELETE", "/api/scans/live", None, {}),
    (404, "DELETE", "/api/scans/nobody", None, {}),
    (200, "POST", "/api/scans/live/events", PORT % 1 + PORT % 2, NDJSON),
    (400, "POST", "/api/scans/live/events", PORT % 1 + PORT % 99999, NDJSON),
    (415, "POST", "/api/scans/live/events", PORT % 1, {"Content-Type": "text/plain"}),
    (400, "POST", "/api/scans/live/events", PORT % 1, {**NDJSON, "Idempotency-Key": ""}),
    (409, "POST", "/api/scans/failed/events", PORT % 1 + b'{"type":"scanCompleted"}\n' * 2, NDJSON),
    (200, "DELETE", "/api/scans/before", None, {}),
]


def test_answers_are_as_told(running: Pipeline) -> None:
    wrong = []
    for wanted, method, path, body, headers in REQUESTS:
        status, kind, value = ask(running, method, path, body, **headers)
        told = operation(method, path)["responses"]
        if status != wanted:
            wrong.append(f"{method} {path}: {status}, not {wanted}: {value}")
            continue
        response = told[str(status)]
        if "$ref" in response:
            response = document("openapi.yaml")["components"]["responses"][
                response["$ref"].rpartition("/")[2]
            ]
        content = response.get("content", {})
        schema = content.get(kind) or content.get("*/*")
        if schema is None:
            wrong.append(f"{method} {path}: {status} {kind} is not told")
            continue
        wrong += [
            f"{method} {path}: {problem}"
            for problem in problems(checker("openapi.yaml", schema["schema"]), value)
        ]
    assert wrong == []


def test_hosts_cannot_be_deleted(running: Pipeline) -> None:
    request = urllib.request.Request(f"{running.url}/api/scans/after/hosts", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20 * PATIENCE)
    refused.value.close()
    assert (refused.value.code, refused.value.headers["Allow"]) == (405, "GET")
    assert ask(running, "GET", "/api/scans/after")[0] == 200


def messages_of(channel: str) -> dict[str, Any]:
    """Return a schema for anything the edge says on a channel."""
    told = document("asyncapi.yaml")
    (sent,) = (
        each
        for each in told["operations"].values()
        if each["action"] == "send" and each["channel"]["$ref"] == f"#/channels/{channel}"
    )
    names = [each["$ref"].rpartition("/")[2] for each in sent["messages"]]
    return {"anyOf": [told["components"]["messages"][name]["payload"] for name in names]}


SUBSCRIBE = '{"action":"subscribe","scan_id":"live"}'
UNSUBSCRIBE = '{"action":"unsubscribe","scan_id":"live"}'
FILTER = '{"action":"filter","level":"hosts"}'
PING = '{"action":"ping"}'


@pytest.mark.parametrize(
    ("channel", "path", "asks", "types"),
    [
        ("scan", "/ws/scans/live", [PING, '{"action":"no"}', FILTER], "hello snapshot pong error filter"),
        ("scan", "/ws/scans/live?since=start&types=portFound", [], "hello batch"),
        ("scans", "/ws/scans", [SUBSCRIBE, '{"action":"subscribe","stats":true}'], "hello snapshot stats"),
        ("scans", "/ws/scans", [SUBSCRIBE, UNSUBSCRIBE, UNSUBSCRIBE], "unsubscribed error"),
        ("stats", "/ws/stats", [PING], "stats pong"),
        ("heroforgeScan", "/api/ws/scans/nobody", [], "error"),
    ],
)
def test_messages_are_as_told(
    running: Pipeline, channel: str, path: str, asks: list[str], types: str
) -> None:
    check, seen = checker("asyncapi.yaml", messages_of(channel)), set()
    asked = checker("asyncapi.yaml", {"anyOf": [
        {"$ref": f"#/components/schemas/{kind}Action"}
        for kind in ("Filter", "Ack", "Ping", "Subscribe", "Unsubscribe")
    ]})  # fmt: skip
    with connect(running.ws(path), open_timeout=20 * PATIENCE) as browser:
        for each in asks:
            assert asked.is_valid(json.loads(each)) != ('"no"' in each)
            browser.send(each)
        while not set(types.split()) <= seen:
            message = json.loads(browser.recv(20 * PATIENCE))
            assert problems(check, message) == [], message
            seen.add(message["type"])


def test_server_sent_events_are_as_told(running: Pipeline) -> None:
    for channel, path, types in (
        ("scanEvents", "/sse/scans/live?since=start", {"hello", "batch"}),
        ("statsEvents", "/sse/stats", {"stats"}),
    ):
        check, seen = checker("asyncapi.yaml", messages_of(channel)), set()
        with urllib.request.urlopen(f"{running.url}{path}", timeout=20 * PATIENCE) as stream:
            while not types <= seen:
                message = next_sent(stream)
                assert problems(check, message) == [], message
                seen.add(message["type"])


def test_what_is_not_told_is_seen() -> None:
    check = checker("openapi.yaml", {"$ref": "#/components/schemas/Deleted"})
    assert problems(check, {"scan_id": "a", "deleted": [1]}) == []
    assert problems(check, {"scan_id": "a", "deleted": [1], "more": 1}) != []
    assert problems(check, {"scan_id": "a"}) != []
