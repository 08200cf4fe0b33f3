"""Prints the schemas in docs/openapi.yaml and docs/asyncapi.yaml from the structs of the code.

    .venv/bin/python -m tests.specs.printing

What stands above `MARK` in them is written by hand, and stays; what stands below is printed anew.
"""

from __future__ import annotations

import typing
from pathlib import Path

import msgspec
import yaml

from pipeline import event, wire
from pipeline.edge import browser_actions
from pipeline.edge.comparing import Counts, HostChange
from pipeline.edge.export.hosts import HostEntry

DOCS = Path(__file__).parents[2] / "docs"
MARK = "    # Below: printed by tests/specs/printing.py from the code.\n"

EVENTS = typing.get_args(event.KnownEvent)
TOLD: tuple[type[msgspec.Struct], ...] = (wire.StateDocument, HostEntry, HostChange, Counts)
"""What answers are made of, beside events."""
MESSAGES: tuple[type[msgspec.Struct], ...] = (
    wire.BrowserHello,
    wire.BrowserSnapshot,
    wire.BrowserBatch,
    wire.BrowserLag,
    wire.BrowserReset,
    wire.BrowserDegraded,
    wire.BrowserFilter,
    wire.BrowserError,
    wire.BrowserUnsubscribed,
    wire.BrowserStats,
    wire.BrowserClosing,
    wire.BrowserPong,
)
"""What an edge says."""
ACTIONS = (*typing.get_args(browser_actions.Action), browser_actions.TokenAction)
"""What a browser asks."""

Schema = dict[str, typing.Any]


def event_schemas() -> dict[str, Schema]:
    """Return a schema for each type of event, for one of another type, and `Event` for any."""
    found = _schemas((*EVENTS, event.UnknownEvent))
    other = found["UnknownEvent"]["properties"]["type"]
    other.update(minLength=1, **{"not": {"enum": [kind.__struct_config__.tag for kind in EVENTS]}})
    names = [kind.__name__ for kind in (*EVENTS, event.UnknownEvent)]
    return {"Event": {"anyOf": [_reference(name) for name in names]}, **found}


def told_schemas() -> dict[str, Schema]:
    """Return the schemas of `TOLD`, and of what they hold."""
    found = _schemas(TOLD, whole=True)
    found["StateDocument"]["properties"]["hosts"]["items"] = _reference("HostEntry")
    return found


def message_schemas() -> dict[str, Schema]:
    """Return the schemas of `MESSAGES`, where a batch holds events."""
    found = _schemas(MESSAGES, whole=True)
    batch = found["BrowserBatch"]
    batch["properties"]["events"]["items"] = _reference("Event")
    batch["required"].remove("at")
    found["BrowserSnapshot"]["properties"]["state"] = _reference("StateDocument")
    return found


def _schemas(structs: tuple[type[msgspec.Struct], ...], *, whole: bool = False) -> dict[str, Schema]:
    """Return the schemas of structs and of what they hold, by name.

    Args:
        structs: of the code.
        whole: the edge writes them: what has a default is there all the same, unless that is left out.
    """
    _, found = msgspec.json.schema_components(
        structs,
        schema_hook=lambda _kind: {"description": "any JSON"},
        ref_template="#/components/schemas/{name}",
    )
    known = {kind.__name__: kind for kind in _reached(structs)}
    for name, schema in found.items():
        schema.pop("title", None)
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
        if whole and "properties" in schema and not known[name].__struct_config__.omit_defaults:
            schema["required"] = list(schema["properties"])
    return dict(sorted(found.items()))


def _reached(structs: tuple[type[msgspec.Struct], ...]) -> set[type[msgspec.Struct]]:
    reached: set[type[msgspec.Struct]] = set()
    waiting: list[typing.Any] = list(structs)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind not in reached:
                reached.add(kind)
                waiting += typing.get_type_hints(kind).values()
        else:
            waiting += typing.get_args(kind)
    return reached


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def printed(name: str) -> str:
    """Return what a document should be.

    Args:
        name: of the file in docs/.
    """
    head, mark, _ = (DOCS / name).read_text().partition(MARK)
    assert mark, f"{name} has no line {MARK!r}"
    schemas = {**event_schemas(), **told_schemas()}
    if name == "asyncapi.yaml":
        schemas |= message_schemas() | _schemas(ACTIONS)
    text = yaml.safe_dump(schemas, sort_keys=False, default_flow_style=None, width=130, allow_unicode=True)
    return head + mark + "".join(f"    {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    for document in ("openapi.yaml", "asyncapi.yaml"):
        (DOCS / document).write_text(printed(document))
