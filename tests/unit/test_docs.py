"""The documents against the code: what is there is described, and what is described is there."""

from __future__ import annotations

import ast
import configparser
import importlib
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec
import pytest
from websockets.sync.client import connect

import pipeline as package
from pipeline import errors, event, settings, wire
from pipeline.cli import cli
from pipeline.edge.close_codes import CLOSE_CODES
from pipeline.edge.overview import Overview
from pipeline.edge.past import past_entry
from pipeline.edge.roster import Roster
from pipeline.edge.sse_event import sse_event
from pipeline.edge.statistics import rest_events, scan_list, scan_statistics
from pipeline.errors import PipelineError, RejectReason
from pipeline.frame import Position
from pipeline.notify.messages import compose
from pipeline.notify.rules import About
from pipeline.options import CONFIG_CLASSES, config_class
from tests.harness import PATIENCE, Pipeline

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "pipeline"
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
PROTOCOL = ROOT / "docs" / "PROTOCOL.md"
OPERATIONS = ROOT / "docs" / "OPERATIONS.md"
COUNTERS, JOURNAL, LOGS, SETTINGS = (
    ROOT / "docs" / "ops" / f"{name}.md" for name in ("COUNTERS", "JOURNAL", "LOGS", "SETTINGS")
)
SECURITY = ROOT / "SECURITY.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

STAGE_FOLDERS = {"ingest": "ingest", "throttle_batch": "throttle-batch", "edge": "edge", "notify": "notify"}
LOG_METHODS = {"debug", "info", "warning", "error"}
LOG_NAMES = {"log", "_log", "_facts", "_limited_log", "_rejection_log"}


def names(module: str) -> list[str]:
    return [found.name for found in pkgutil.walk_packages([str(SOURCE)], f"{module}.")]


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE), ast.parse(path.read_text())


def section(document: Path, heading: str) -> str:
    """Return the text below a heading, to the next one of its level or higher."""
    lines = document.read_text().splitlines()
    start = lines.index(heading)
    level = heading.partition(" ")[0]
    for end in range(start + 1, len(lines)):
        mark = lines[end].partition(" ")[0]
        if mark and set(mark) == {"#"} and len(mark) <= len(level):
            return "\n".join(lines[start + 1 : end])
    return "\n".join(lines[start + 1 :])


def rows(text: str, *header: str) -> list[list[str]]:
    """Return the cells of each row of the table with this header."""
    lines = iter(text.splitlines())
    for line in lines:
        if cells(line)[: len(header)] == list(header):
            break
    else:
        raise AssertionError(f"there is no table {header}")
    assert set(next(lines)) <= set("|-")
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(cells(line))
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# --- settings, commands --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", CONFIG_CLASSES)
def test_every_setting_has_its_row(stage: str) -> None:
    wanted = []
    for key in settings.keys(config_class(stage)):
        default = json.dumps(key.default)
        wanted.append(
            [
                f"`{key.section}.{key.key}`",
                f"`{default}`",
                key.unit or "-",
                key.bounds or "-",
                key.description,
            ]
        )
    told = rows(section(SETTINGS, f"## {stage} settings"), "key", "default", "unit", "bounds", "what")
    printable = "\n".join("| " + " | ".join(row) + " |" for row in wanted)
    assert told == wanted, f"the rows should be:\n{printable}"


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found[name] = command
    return found


def test_every_command_is_told() -> None:
    told = [
        quoted(row[0])[0] for row in rows(section(OPERATIONS, "## Commands"), "command", "what", "wrapper")
    ]
    assert sorted(told) == sorted(commands())


def options(command: click.Command) -> set[str]:
    found = set()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            found.update([*parameter.opts, *parameter.secondary_opts])
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            found |= options(inner)
    return found


@pytest.mark.parametrize("name", [name for name in commands() if name != "config"])
def test_every_option_is_told(name: str) -> None:
    text = section(OPERATIONS, "## Commands")
    common, _, _ = text.partition("| command | option | what |")
    told = [row[1] for row in rows(text, "command", "option") if name in quoted(row[0])]
    if name in {"up", "ingest", "throttle-batch", "edge", "notify"}:
        told.append(common)
    spelled = {word for part in told for spot in quoted(part) for word in re.split(r"[ /]", spot)}
    assert options(commands()[name]) - {"-h", "--help"} <= spelled


def test_no_option_is_told_that_does_not_exist() -> None:
    known = set().union(*(options(command) for command in commands().values()))
    known |= {"--help", "--version", "--without-system"}
    for document in (README, OPERATIONS, JOURNAL, SETTINGS):
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", document.read_text()))
        strangers = told - known - nmap_options(document)
        assert not strangers, f"{document.name}: {strangers}"


def nmap_options(document: Path) -> set[str]:
    calls = re.findall(r"^nmap ([^|]*)", document.read_text(), re.MULTILINE)
    return {word for call in calls for word in call.split() if word.startswith("--")}


# --- counters, log lines --------------------------------------------------------------------------


def counters(tree: ast.Module) -> set[str]:
    """Return the counters a file writes; what stands for a value in a name is `…`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "counters":
            for part in ast.walk(node):
                if isinstance(part, ast.Dict):  # a dictionary may also take in others; these have no key
                    found |= {str(ast.literal_eval(key)) for key in part.keys if key is not None}
        if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Store):
            continue
        holder = ast.unparse(node.value)
        if not holder.endswith(("counters", "counted")):
            continue
        if isinstance(node.slice, ast.Constant):
            found.add(str(node.slice.value))
        elif isinstance(node.slice, ast.JoinedStr):
            parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.slice.values]
            found.add("".join(parts))
        else:
            raise AssertionError(f"a counter whose name is not told: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(("folder", "stage"), STAGE_FOLDERS.items())
def test_the_counters_are_those_of_the_code(folder: str, stage: str) -> None:
    counted = set()
    for path, tree in sources():
        if path.parts[0] == folder:
            counted |= counters(tree)
    assert len(counted) > 5
    open_names = {name for name in counted if "…" in name}
    covered = {n for n in counted for o in open_names if n != o and n.startswith(o.partition("…")[0])}
    told = rows(section(COUNTERS, f"## Counters of {stage}"), "counter", "counts")
    named = [name for row in told for name in quoted(row[0])]
    assert sorted(named) == sorted(set(named))
    assert counted - covered <= set(named)
    assert set(named) <= counted


def test_counters_stand_in_the_folders_looked_at() -> None:
    for path, tree in sources():
        assert path.parts[0] in STAGE_FOLDERS or not counters(tree), f"{path} counts too"


def facts(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        method = node.func
        if isinstance(method, ast.Name) and method.id == "write":  # a method chosen just before
            found |= {
                a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)
            }
        if not isinstance(method, ast.Attribute) or method.attr not in LOG_METHODS:
            continue
        holder = ast.unparse(method.value).rpartition(".")[2]
        if holder in LOG_NAMES:
            assert isinstance(node.args[0], ast.Constant), f"a fact that is not told: {ast.unparse(node)}"
            found.add(str(node.args[0].value))
    return found


def test_the_log_lines_are_those_of_the_code() -> None:
    written = set()
    for path, tree in sources():
        if path.name != "log.py":
            written |= facts(tree)
    told = [quoted(row[0])[0] for row in rows(section(LOGS, "# Log lines"), "fact", "level")]
    assert sorted(told) == sorted(written)


def fields(tree: ast.Module) -> set[tuple[str, str]]:
    """Return (fact, field) of what a file logs, as far as the names of the fields stand in the call."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        method = node.func
        by_name = isinstance(method, ast.Name) and method.id == "write"
        if not by_name and not (isinstance(method, ast.Attribute) and method.attr in LOG_METHODS):
            continue
        found |= {(str(node.args[0].value), each.arg) for each in node.keywords if each.arg is not None}
    return found


def test_the_fields_of_log_lines_are_told() -> None:
    table = rows(section(LOGS, "# Log lines"), "fact", "level")
    told = {quoted(row[0])[0]: set(quoted(row[3])) for row in table}
    written = {pair for path, tree in sources() if path.name != "log.py" for pair in fields(tree)}
    missing = {(fact, field) for fact, field in written if fact in told and field not in told[fact]}
    assert missing == set()


# --- errors, reasons, close codes -----------------------------------------------------------------


def subclasses(of: type) -> Iterator[type]:
    for cls in of.__subclasses__():
        yield cls
        yield from subclasses(cls)


def test_every_error_is_told_with_its_exit_code() -> None:
    importlib.import_module("pipeline.emitter")
    wanted = {cls.__name__: cls.exit_code for cls in [PipelineError, *subclasses(PipelineError)]}
    wanted = {name: code for name, code in wanted.items() if hasattr(errors, name) or hasattr(package, name)}
    told = rows(section(OPERATIONS, "## Exit codes"), "error", "exit code", "means")
    assert {quoted(row[0])[0]: int(row[1]) for row in told} == wanted


def test_every_error_of_the_package_is_public() -> None:
    for module in names("pipeline"):
        if not module.endswith("__main__"):
            importlib.import_module(module)
    for cls in subclasses(PipelineError):
        if cls.__module__.startswith("pipeline"):
            assert hasattr(errors, cls.__name__) or hasattr(package, cls.__name__), cls


def test_the_reasons_are_the_closed_list() -> None:
    told = [quoted(row[0])[0] for row in rows(section(PROTOCOL, "## Events"), "reason", "when")]
    assert told == [reason.value for reason in RejectReason]


def test_the_close_codes_are_the_table() -> None:
    told = rows(section(PROTOCOL, "## Close codes"), "code", "reason", "reconnect", "when")
    wanted = [[str(code.code), code.reason, "yes" if code.reconnect else "no"] for code in CLOSE_CODES]
    assert [row[:3] for row in told] == wanted
    assert all(row[3] for row in told)


# --- events and messages --------------------------------------------------------------------------


def event_row(name: str, entry: event.CatalogueEntry) -> list[str]:
    struct = next(c for c in subclasses(event.Event) if c.__struct_config__.tag == name)
    shared = {field.name for field in msgspec.structs.fields(event.Event)}
    own = [field for field in msgspec.structs.fields(struct) if field.name not in shared]
    required = ", ".join(f"`{field.encode_name}`" for field in own if field.required)
    optional = ", ".join(f"`{field.encode_name}`" for field in own if not field.required)
    mark = "terminal" if entry.terminal else f"key: `{entry.key}`" if entry.key else ""
    return [f"`{name}`", entry.event_class.value, required or "-", optional or "-", mark]


def test_the_event_types_are_the_catalogue() -> None:
    told = rows(section(PROTOCOL, "## Events"), "type", "class", "required fields")
    assert told == [event_row(name, entry) for name, entry in event.DEFAULT_CATALOGUE.items()]


def test_the_fields_of_every_event_are_told() -> None:
    told = [quoted(row[0])[0] for row in rows(section(PROTOCOL, "## Events"), "field", "what")]
    assert told == [field.name for field in msgspec.structs.fields(event.Event)]


def messages() -> list[type[msgspec.Struct]]:
    found = []
    for name in [wire.__name__, *names("pipeline")]:
        if name == wire.__name__ or name.startswith(f"{wire.__name__}."):
            for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass):
                if issubclass(cls, msgspec.Struct) and cls.__module__ == name:
                    found.append(cls)
    assert found
    return found


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.__name__)
def test_every_message_and_its_fields_are_told(message: type[msgspec.Struct]) -> None:
    text = PROTOCOL.read_text()
    words = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`[^`\n]+`|^[{F].*$", text, re.MULTILINE))))
    tag = message.__struct_config__.tag
    assert tag is None or f'"type":"{tag}"' in text
    if message in (wire.Document, wire.Envelope, wire.FrameMessage, wire.Page):
        return  # what a message is taken apart into; its parts are told
    missing = {field.encode_name for field in msgspec.structs.fields(message)} - words
    assert not missing


def examples(document: Path) -> list[str]:
    found = []
    for block in re.findall(r"```json\n(.*?)```", document.read_text(), re.DOTALL):
        found += block.splitlines()
    return found


@pytest.mark.parametrize("example", [text for text in examples(PROTOCOL) if text.startswith('{"type"')])
def test_every_message_shown_is_one(example: str) -> None:
    value = json.loads(example)
    structs = [cls for cls in messages() if cls.__struct_config__.tag == value["type"]]
    if value["type"] in event.DEFAULT_CATALOGUE:
        event.check_event(example.encode())
    elif value["type"] == "batch":
        raws = [json.dumps(item, separators=(",", ":")) for item in value["events"]]
        first, last = value["seq"]
        made = wire.browser_batch(
            value["scan_id"],
            value["epoch"],
            first,
            last,
            value["merged"],
            tuple(value["at"]),
            f"[{','.join(raws)}]".encode(),
            value["filtered"],
        )
        assert made.decode() == example
        assert len(raws) + value["merged"] + value["filtered"] == last - first + 1
    elif value["type"].startswith("scan."):
        data = value["data"]
        raw = json.dumps(data["event"], separators=(",", ":")).encode()
        about = msgspec.convert(data["scan"], About)
        seen_ms = int(datetime.fromisoformat(value["timestamp"]).timestamp() * 1000)
        place = Position.parse(data["position"])
        made = compose(data["hook"], data["rule"], data["scan_id"], place, raw, about, seen_ms)
        assert made.decode() == example
    else:
        assert structs
        fields = {field.encode_name for cls in structs for field in msgspec.structs.fields(cls)}
        assert set(value) <= {"type", *fields}


def test_the_answers_of_rest_are_those_shown() -> None:
    shown = [json.loads(text) for text in examples(PROTOCOL)]
    reply = next(value for value in shown if "channels" in value)
    summaries = msgspec.convert(reply["channels"], list[wire.ChannelSummary])
    lists = [value for value in shown if "scans" in value and "type" not in value]
    made = [scan_list(summaries, complete=True), scan_statistics(summaries, complete=True)]
    (past,) = (value["lives"] for value in shown if "lives" in value)
    entries = [past_entry(life) for life in msgspec.convert(past, list[wire.PastLife])]
    made.append({"scans": entries, "next": None, "complete": True})
    assert lists == [json.loads(msgspec.json.encode(answer)) for answer in made]
    roster, overview = Roster(3), Overview()
    roster.take([msgspec.convert(reply, wire.ChannelsReply)], 0.0, complete=True)
    overview.take(roster.news(-1), 0.0)
    told = [overview.whole(0.0)]
    roster.take([wire.ChannelsReply(1, 2, [])], 0.0, complete=True)
    told.append(overview.take(roster.news(roster.news(-1).version - 1), 0.0))
    streamed = [value for value in shown if value.get("type") == "stats" and "whole" in value]
    assert [json.loads(wire.encode(message)) for message in told if message] == streamed


def test_the_events_of_rest_are_those_shown() -> None:
    (shown,) = (text for text in examples(PROTOCOL) if '"resumed"' in text and '"next"' in text)
    value = json.loads(shown)
    first, last = value["seq"]
    header = wire.PageHeader(
        1, f"scan/{value['scan_id']}", value["epoch"], first, last, value["head"], True, value["epoch"]
    )
    events = [msgspec.json.encode(item) for item in value["events"]]
    page = wire.decode_history_reply(wire.encode_page(header, events))
    assert isinstance(page, wire.Page)
    assert rest_events(value["scan_id"], page, value["resumed"], 1_000).decode() == shown


def test_the_server_sent_event_is_the_one_shown() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", section(PROTOCOL, "## Server-sent events"), re.DOTALL)
    match = re.fullmatch(r"id: (.*)\ndata: (.*)\n\n", shown)
    assert match
    batch = json.loads(match[2])
    raws = b",".join(msgspec.json.encode(item) for item in batch["events"])
    made = wire.browser_batch(batch["scan_id"], batch["epoch"], *batch["seq"], 0, (), b"[%b]" % raws)
    assert sse_event(made, Position(batch["epoch"], batch["seq"][1])).decode() == shown


def test_the_envelope_is_the_one_shown() -> None:
    text = section(PROTOCOL, "### Envelope")
    block = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    lines = re.findall(r"^(\d+) +(\S+)", block, re.MULTILINE)
    parts = [bytes.fromhex(part) if re.fullmatch("[0-9a-f]{2}", part) else part.encode() for _, part in lines]
    header = next(part for part in parts if part.startswith(b'{"channel"'))
    events = [part for part in parts if part.startswith(b'{"type"')]
    made = wire.encode_envelope(msgspec.json.decode(header, type=wire.EnvelopeHeader), events)
    assert made == b"".join(parts)
    assert f"An example, {len(made)} bytes" in text
    assert [int(offset) for offset, _ in lines] == [
        len(b"".join(parts[:index])) for index in range(len(parts))
    ]


def test_the_frame_is_the_one_shown() -> None:
    block = re.findall(r"```text\n(.*?)\n```", section(PROTOCOL, "## Frames"), re.DOTALL)[0]
    frame = wire.decode_frame(block.encode())
    assert frame.channel == "scan/demo"
    assert len(wire.split_events(frame.body)) == len(frame.header.at)


# --- the tree, links, tests named -----------------------------------------------------------------


def test_every_file_stands_in_the_tree() -> None:
    tree = section(ARCHITECTURE, "## The tree")
    usual = {"__init__.py", "__main__.py", "command.py", "config.py", "stage.py"}
    for path in SOURCE.rglob("*.py"):
        if path.name not in usual:
            assert re.search(rf"(?<![\w]){re.escape(path.name)}", tree), path
    for name in re.findall(r"[a-z_]+\.py", tree):
        assert list(SOURCE.rglob(name)), f"{name} is not there any more"


def test_what_is_called_pure_is_under_the_contract() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    modules = set(config["importlinter:contract:pure"]["source_modules"].split())
    folder = called = ""
    for line in section(ARCHITECTURE, "## The tree").splitlines():
        if opened := re.match(r"( *)([a-z_]+)/", line):
            folder = opened[2] if len(opened[1]) <= 2 else f"{folder}.{opened[2]}"
        elif re.match(r"  [a-z]", line):
            folder = "pipeline"
        called = f"{called} {line}" if line.startswith(" " * 10) else line
        for name in re.findall(r"([a-z_]+)\.py", called) if line.endswith(" pure") else []:
            module = f"pipeline.{folder}.{name}".replace("pipeline.pipeline.", "pipeline.")
            assert any(f"{module}.".startswith(f"{known}.") for known in modules), module


def anchors(document: Path) -> set[str]:
    found = set()
    for heading in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def links() -> list[tuple[Path, str]]:
    found = []
    for document in DOCUMENTS:
        found += [(document, target) for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text())]
    return [(document, target) for document, target in found if "://" not in target]


@pytest.mark.parametrize(("document", "target"), links(), ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_somewhere(document: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    assert file.is_file()
    assert not anchor or anchor in anchors(file)


def test_every_document_is_reached_from_the_readme() -> None:
    reached = {(README.parent / target.partition("#")[0]).resolve() for d, target in links() if d == README}
    assert set(DOCUMENTS) - {README} <= reached


@pytest.mark.parametrize(
    "name",
    sorted({n for row in rows(SECURITY.read_text(), "threat", "defence", "test") for n in quoted(row[2])}),
)
def test_every_test_named_is_there(name: str) -> None:
    assert (ROOT / "tests" / name).is_file()


def test_every_path_named_is_there() -> None:
    pattern = r"`((?:bin|configs|docs|tests|benchmarks|pipeline|\.ci)/[A-Za-z0-9_./-]*)`"
    for document in DOCUMENTS:
        for name in re.findall(pattern, document.read_text()):
            for stage in CONFIG_CLASSES if "STAGE" in name else [""]:
                assert (ROOT / name.replace("STAGE", stage)).exists(), f"{document.name}: {name}"


# --- the README's commands and examples -----------------------------------------------------------


def shell_lines(document: Path) -> list[str]:
    found: list[str] = []
    for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
        found += block.splitlines()
    return found


@pytest.mark.parametrize("line", sorted({line for document in DOCUMENTS for line in shell_lines(document)}))
def test_every_command_shown_exists(line: str) -> None:
    for part in line.split("|"):
        program, *arguments = shlex.split(part)
        if "--replay" in arguments:  # a recording that an earlier line makes; any file stands for it
            arguments[arguments.index("--replay") + 1] = str(README)
        if program in {"curl", "my-tool", "nmap", "printf"}:
            continue
        if program == ".venv/bin/ruff":
            continue
        if program == ".venv/bin/pipeline":
            name, arguments = arguments[0], arguments[1:]
        else:
            assert os.access(ROOT / program, os.X_OK), f"{program} cannot be run"
            name = program.removeprefix("bin/")
        if name in {"test", "bench"}:
            continue
        command = commands()[name]
        if isinstance(command, click.Group):
            inner = command.commands[arguments[0]]
            inner.make_context(inner.name, arguments[1:])
        else:
            command.make_context(name, arguments)


WRAPPERS = [
    "up",
    "ingest",
    "throttle-batch",
    "edge",
    "notify",
    "tail",
    "emit",
    "doctor",
    "top",
    "test",
    "bench",
]


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_can_be_run(name: str) -> None:
    assert os.access(ROOT / "bin" / name, os.X_OK)


def test_the_examples_in_python_send_and_read_their_events(pipeline: Pipeline) -> None:
    *blocks, reading = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    wanted = {
        "embedded": ["scanStarted", "hostDiscovered", "scanCompleted"],
        "in-a-loop": ["scanStarted", "scanCompleted"],
        "foreign": ["hostDiscovered"],
    }
    assert len(blocks) == len(wanted)
    pipeline.start()
    environ = {**os.environ, "PIPELINE_RUN_DIR": str(pipeline.run_dir)}
    for block in blocks:
        subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, env=environ, check=True, timeout=20 * PATIENCE
        )
    found = {scan_id: first_types(pipeline, scan_id, len(types)) for scan_id, types in wanted.items()}
    assert found == wanted
    assert "http://127.0.0.1:8800/" in reading
    done = subprocess.run(
        [sys.executable, "-c", reading.replace("http://127.0.0.1:8800", pipeline.url)],
        cwd=ROOT,
        check=True,
        timeout=20 * PATIENCE,
        capture_output=True,
        text=True,
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == wanted["embedded"]


@pytest.mark.system
def test_the_example_with_curl_sends_its_event_once(pipeline: Pipeline) -> None:
    [line] = [line for line in shell_lines(README) if line.startswith("curl ")]
    pipeline.start()
    command = shlex.split(line.replace("http://127.0.0.1:8800", pipeline.url))
    answers = [
        json.loads(
            subprocess.run(command, check=True, timeout=20 * PATIENCE, capture_output=True, text=True).stdout
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert (answers[0]["accepted"], answers[0]["seq"]) == (1, 1)
    assert first_types(pipeline, "curled", 1) == ["hostDiscovered"]


def first_types(pipeline: Pipeline, scan_id: str, count: int) -> list[str]:
    """Return the types of a scan's first events, as a browser gets them."""
    found: list[str] = []
    with connect(pipeline.ws(f"/ws/scans/{scan_id}?since=start")) as browser:
        while len(found) < count:
            message = json.loads(browser.recv(timeout=20 * PATIENCE))
            found += [item["type"] for item in message.get("events", [])]
    return found


def requirements() -> list[tuple[str, str]]:
    """Return (what is required at run time, the line above it) of setup.cfg."""
    lines = (
        (ROOT / "setup.cfg")
        .read_text()
        .partition("install_requires =\n")[2]
        .partition("\n\n")[0]
        .splitlines()
    )
    return [
        (line.strip(), above.strip())
        for above, line in zip(["", *lines], lines, strict=False)
        if not line.strip().startswith("#")
    ]


def test_every_floor_of_a_dependency_has_its_reason() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    required = [line for line in config["options"]["install_requires"].splitlines() if line]
    assert [line for line, _ in requirements()] == required
    assert len(required) >= 5
    for line, above in requirements():
        assert re.fullmatch(r"[A-Za-z-]+ >= [0-9.]+", line), f"{line}: needs a floor"
        assert above.startswith("# "), f"{line}: needs the reason of its floor above it"
