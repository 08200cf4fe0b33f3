"""Channel names, and that everything public of `wire` is had from `wire`."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types

import pytest

from pipeline import wire
from pipeline.errors import MessageMalformed
from pipeline.wire import StatsReply, StatsRequest, channel_name, encode, split_channel

MODULES = [
    importlib.import_module(f"pipeline.wire.{found.name}") for found in pkgutil.iter_modules(wire.__path__)
]


def test_the_question_for_counters() -> None:
    assert encode(StatsRequest(7)) == b'{"type":"stats","id":7}'
    assert encode(StatsReply(7, "edge", {"a{b=c}": 1.0})) == (
        b'{"type":"stats","id":7,"stage":"edge","counters":{"a{b=c}":1.0}}'
    )


@pytest.mark.parametrize(("kind", "channel_id"), [("scan", "a"), ("report", "x.y-z_9"), ("scan", "A" * 64)])
def test_channels(kind: str, channel_id: str) -> None:
    assert split_channel(channel_name(kind, channel_id)) == (kind, channel_id)


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "scan",
        "scan/",
        "/a",
        "scans/a",
        "SCAN/a",
        "scan/a/b",
        "scan/.",
        "scan/stats",
        "scan/a\n",
        "scan|a",
    ],
)
def test_what_is_no_channel(channel: str) -> None:
    with pytest.raises(MessageMalformed, match="is no channel: scan/ID or report/ID"):
        split_channel(channel)


def public(module: types.ModuleType) -> set[str]:
    """The names a module gives something of its own, but those with an underscore."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(ast.unparse(target) for target in targets)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_that_is_public_is_had_from_wire(module: types.ModuleType) -> None:
    names = public(module)
    assert names
    assert names <= set(wire.__all__)
    assert all(getattr(wire, name) is getattr(module, name) for name in names)
