"""docs/BENCHMARKS.md is what the figures in docs/benchmarks/ say; every benchmark has its section there."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
DOCS = ROOT / "docs"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_document")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_report")


def constants(name: str) -> dict[str, Any]:
    """Return what a benchmark's file sets to plain values."""
    found = {}
    for node in ast.parse((FOLDER / f"{name}.py").read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=("MINUTES" | "PACKAGES") as key)]):
                found[key] = ast.literal_eval(node.value)
    return found


ADAPTED = [name for name in NAMES if "MINUTES" in constants(name)]


def test_the_document_is_what_the_figures_say(document: ModuleType, tmp_path: Path) -> None:
    shutil.copy(DOCS / "BENCHMARKS.md", tmp_path)
    shutil.copytree(DOCS / "benchmarks", tmp_path / "benchmarks")
    document.draw(tmp_path, NAMES)
    assert (tmp_path / "BENCHMARKS.md").read_text() == (DOCS / "BENCHMARKS.md").read_text()
    drawn = {path.name: path.read_text() for path in (tmp_path / "benchmarks").glob("*.svg")}
    assert drawn == {path.name: path.read_text() for path in (DOCS / "benchmarks").glob("*.svg")}


def test_what_is_kept_belongs_to_a_benchmark() -> None:
    assert {path.stem for path in (DOCS / "benchmarks").glob("*.json")} <= set(NAMES)


def test_all_benchmarks_together_are_within_their_time() -> None:
    minutes = [constants(name)["MINUTES"] for name in ADAPTED]
    assert sum(each["normal"] for each in minutes) < 20
    assert sum(each["quick"] for each in minutes) <= 3


def test_a_run_replaces_only_its_own_section(
    document: ModuleType, report: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [document.markers(name) for name in ("all", "one", "two")]
    text = "# Title\n\n" + "".join(f"by hand\n\n{before}\n{behind}\n" for before, behind in parts)
    (tmp_path / "BENCHMARKS.md").write_text(text)
    made = report.Report("one", "normal", tmp_path)
    table = report.Table("figures", [("", 0), ("ms", 1), ("x yardstick", 2)])
    table.add("yardstick", [1.0, 2.0, 4.0], 1.0)
    table.add("scanstream", [2.0, 3.0, 5.0], None)
    made.add(table)
    made.bars(table, "ms", "how long")
    made.lines("growth", "clients", "MiB", {"edge": [(1, 10), (1000, 100)]}, log="x")
    made.target("ms", 3.0, "<=", 5.0, 1)
    made.note("nobody: not measured, nobody is not installed")
    made.close()
    written = (tmp_path / "BENCHMARKS.md").read_text()
    assert written.count("by hand") == 3
    assert "| yardstick | 2.0 (1.0-4.0) | 1.00 |" in written
    assert "| scanstream | 3.0 (2.0-5.0) | - |" in written
    assert "| [one](#one) | ms | <= 5.0 | 3.0 | yes |" in written
    assert "- nobody: not measured, nobody is not installed" in written
    assert "![how long](benchmarks/one-1.svg)" in written
    assert written.count("Not measured yet") == 0
    for picture in ("one-1.svg", "one-2.svg"):
        svg = (tmp_path / "benchmarks" / picture).read_text()
        assert svg.startswith("<svg ")
        assert "prefers-color-scheme:dark" in svg
    document.draw(tmp_path, ["one"])
    assert (tmp_path / "BENCHMARKS.md").read_text() == written
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing"], "nothing is no benchmark; there are: fanout,"),
        (["fold", "throughput", "--rounds", "3"], "options of its own need one NAME"),
        (["--rounds", "3"], "options of its own need one NAME"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told(words: list[str], problem: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "_run.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert problem in done.stderr


@pytest.mark.parametrize("name", ADAPTED)
def test_each_tells_its_options(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER,
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: bin/bench {name} " in done.stdout
    assert "exit code:" in done.stdout
