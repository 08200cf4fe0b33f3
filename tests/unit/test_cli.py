"""The command line: what its help says is so, it is quick to say it, and a shell can complete it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipeline import __version__, event
from pipeline.cli import cli
from pipeline.options import CONFIG_CLASSES
from pipeline.tail.command import SEVERITIES
from tests.harness import PATIENCE

WAIT_S = 20.0
SLOW = {"tornado", "zmq", "asyncio", "orjson", "prometheus_client", "curses", "sqlite3", "ssl"}
"""What no help needs, and what takes long to import."""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield (name, command) of each, those in groups as `group name`."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for inner, found in command.commands.items():
                yield f"{name} {inner}", found


COMMANDS = dict(commands())


def examples(name: str) -> list[str]:
    """Return the lines of a command's help that are shown as they are to be typed."""
    blocks = re.findall(r"\x08\n(.*?)(?:\n *\n|\Z)", COMMANDS[name].help or "", re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and line != "Examples:"]


def calls(line: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (command, arguments) of each call of ours in a line of a shell."""
    inner = re.search(r"\$\((.*)\)", line)
    for part in (inner[1] if inner else line).split(" | "):
        words = shlex.split(part)
        if words[0] == "pipeline":
            words = words[1:]
        elif words[0] != name.split()[0]:
            continue  # another program's
        called = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        yield called, words[len(called.split()) :]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_they_are_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = 0
    for line in examples(name):
        for called, arguments in calls(line, name):
            own += called.startswith(name)
            for argument in arguments:
                if re.fullmatch(r"[a-z-]+\.[a-z]+", argument):
                    Path(argument).touch()  # a file of the user's
            command = COMMANDS[called]
            if not isinstance(command, click.Group):
                command.make_context(called, list(arguments), parent=click.Context(cli))
    assert own, f"{name} has no example of its own"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    silent = [
        option.opts[-1] for option in command.params if isinstance(option, click.Option) and not option.help
    ]
    assert not silent
    assert command.get_short_help_str()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(name: str) -> None:
    command = COMMANDS[name]
    text = command.get_help(click.Context(command, info_name=f"pipeline {name}", terminal_width=80))
    assert not [line for line in text.splitlines() if len(line) > 80 and line.strip() not in examples(name)]


def test_the_severities_are_those_of_the_catalogue() -> None:
    assert SEVERITIES == event.SEVERITIES


def run(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *args],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=WAIT_S * PATIENCE,
        check=True,
    )


def test_its_version() -> None:
    assert run("--version").stdout == f"scanstream, version {__version__}\n"


@pytest.mark.parametrize("name", ["tail", "doctor", "top", "config", "completion", "scan"])
def test_help_imports_nothing_that_is_slow(name: str) -> None:
    program = (
        "import sys, json; from pipeline.cli import cli\n"
        f"try: cli.main([{name!r}, '--help'], prog_name='pipeline')\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=WAIT_S * PATIENCE,
        check=True,
    )
    assert done.stdout.startswith(f"Usage: pipeline {name} ")
    imported = set(json.loads(done.stderr))
    assert not SLOW.intersection(imported)
    if name == "tail":
        assert not {"msgspec", "pipeline.event"} & imported


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("pipeline t", ["tail", "throttle-batch", "token", "top"]),
        ("pipeline tail --until", ["--until-complete"]),
        ("pipeline config show ", sorted(CONFIG_CLASSES)),
        ("pipeline completion f", ["fish"]),
        ("pipeline doctor --j", ["--json"]),
    ],
)
def test_bash_completes(words: str, completed: list[str]) -> None:
    script = run("completion", "bash").stdout
    typed = [*words.split(), *([""] if words.endswith(" ") else [])]
    shell = (
        f"{script}\nCOMP_WORDS=({shlex.join(typed)})\nCOMP_CWORD={len(typed) - 1}\n"
        '_pipeline_completion "$PROGRAM"\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    program = Path(sys.executable).with_name("pipeline")
    assert program.is_file(), "the tests run where `pipeline` is installed"
    done = subprocess.run(
        ["bash", "--norc", "-c", shell],
        env={**os.environ, "PROGRAM": str(program)},
        capture_output=True,
        text=True,
        timeout=WAIT_S * PATIENCE,
        check=True,
    )
    assert sorted(done.stdout.split()) == completed


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_ask_this_program(shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_PIPELINE_COMPLETE=" in script
    assert f"{shell}_complete" in script
    assert "pipeline" in script


@pytest.mark.parametrize(("shell", "separator"), [("zsh", "\n"), ("fish", ",")])
def test_other_shells_are_answered(shell: str, separator: str) -> None:
    environ = {"_PIPELINE_COMPLETE": f"{shell}_complete", "COMP_WORDS": "pipeline to", "COMP_CWORD": "1"}
    if shell == "fish":
        environ["COMP_CWORD"] = "to"
    assert run(**environ).stdout.startswith(f"plain{separator}top")
