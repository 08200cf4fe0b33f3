"""docs/openapi.yaml and docs/asyncapi.yaml: valid, up to date, and with every route of the edge."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from openapi_spec_validator import validate
from tornado.web import RequestHandler

from pipeline import __version__
from pipeline.edge.config import EdgeConfig
from pipeline.edge.filter import LEVELS
from pipeline.edge.handlers.sse import EventStream
from pipeline.edge.handlers.websocket import BrowserSocket
from pipeline.edge.stage import application
from pipeline.event import SEVERITIES
from tests.specs.printing import ACTIONS, DOCS, MESSAGES, printed

ASYNCAPI = Path(__file__).parents[2] / ".venv/interop/node_modules/@asyncapi/specs/schemas/3.0.0.json"
"""Where bin/test puts the schema that AsyncAPI publishes."""
METHODS = {"get", "post", "put", "patch", "delete", "head", "options"}


class Bare:
    """As much of a service as the router looks at."""

    config = EdgeConfig()
    log = None


def routes() -> dict[str, type[RequestHandler]]:
    """Return the routes of an edge as its router has them: path -> handler."""
    found = {}
    for rule in application(Bare()).default_router.rules[0].target.rules:  # type: ignore[arg-type,attr-defined]  # it is only looked at
        path = rule.matcher.regex.pattern.removesuffix("$")
        found[path] = rule.target
    return found


@cache
def document(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((DOCS / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def as_route(path: str) -> str:
    """Return a path of a document as the router writes it."""
    return {"/": "/()", "/static/{file}": "/static/(.*)"}.get(path, re.sub(r"\{\w+\}", "([^/]+)", path))


@pytest.mark.parametrize("name", ["openapi.yaml", "asyncapi.yaml"])
def test_a_document_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == printed(name), "run .venv/bin/python -m tests.specs.printing"
    assert document(name)["info"]["version"] == __version__


def test_openapi_is_valid() -> None:
    validate(document("openapi.yaml"))


@pytest.mark.system
def test_asyncapi_is_valid() -> None:
    validator = Draft7Validator(json.loads(ASYNCAPI.read_text()))
    assert [error.message for error in validator.iter_errors(document("asyncapi.yaml"))] == []


def test_every_route_stands_in_openapi_and_no_other() -> None:
    told = {
        as_route(path): {name for name in item if name in METHODS}
        for path, item in document("openapi.yaml")["paths"].items()
    }
    there = {
        path: {name for name in METHODS if _answers(handler, name)}
        for path, handler in routes().items()
        if not issubclass(handler, BrowserSocket)
    }
    assert told == there


def _answers(handler: type[RequestHandler], method: str) -> bool:
    """Say whether a handler has a method of HTTP, its own or one it inherits."""
    has_none = RequestHandler.get
    return method.upper() in handler.SUPPORTED_METHODS and getattr(handler, method) is not has_none


def test_every_stream_stands_in_asyncapi_and_no_other() -> None:
    told = [as_route(channel["address"]) for channel in document("asyncapi.yaml")["channels"].values()]
    there = [path for path, handler in routes().items() if issubclass(handler, BrowserSocket | EventStream)]
    told = [path.replace("{report_id}", "([^/]+)") for path in told]
    assert sorted(told) == sorted(there)


def test_every_message_stands_in_asyncapi() -> None:
    told = document("asyncapi.yaml")
    payloads = {
        each["payload"]["$ref"].rpartition("/")[2] for each in told["components"]["messages"].values()
    }
    assert {kind.__name__ for kind in (*MESSAGES, *ACTIONS)} <= payloads
    for name, operation in told["operations"].items():
        of_channel = told["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["messages"]
        assert {each["$ref"].rpartition("/")[2] for each in operation["messages"]} <= set(of_channel), name


def test_what_a_query_may_be_is_what_the_edge_reads() -> None:
    parameters = document("openapi.yaml")["components"]["parameters"]
    assert parameters["level"]["schema"]["enum"] == list(LEVELS)
    assert parameters["min_severity"]["schema"]["enum"] == list(SEVERITIES)
    for name in ("openapi.yaml", "asyncapi.yaml"):
        assert f"127.0.0.1:{EdgeConfig().http.port}" in str(document(name)["servers"])
