"""Unit tests mirror the tree: what is pure has its own test file, in the same place.

Pure is a module that says so in the first line of its docstring, and one that reaches, through its own
imports and those of the modules of ours it imports, nothing that touches the outside. `__init__` files hold
no code; config files and sections are tested together, by test_configs.
"""

from __future__ import annotations

import ast
import pathlib
from functools import cache

import pytest

import pipeline

ROOT = pathlib.Path(pipeline.__file__).parent
TESTS = pathlib.Path(__file__).parent
OUTSIDE = {
    "asyncio",
    "click",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "secrets",
    "select",
}
OUTSIDE |= {"selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile"}
OUTSIDE |= {"threading", "time", "tornado", "zmq"}
TESTED_ELSEWHERE = frozenset({"__init__.py", "config.py", "sections.py"})
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    """The dotted names a module imports, also inside its functions; not those for type checking only."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse((ROOT / path).read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)
    return names


@cache
def touches_the_outside(path: pathlib.Path) -> set[str]:
    """What of the outside a module imports itself."""
    return {name for name in imported(path) if name.partition(".")[0] in OUTSIDE}


@cache
def ours(path: pathlib.Path) -> frozenset[pathlib.Path]:
    """The modules of ours that a module imports."""
    names = [pathlib.Path(*name.split(".")[1:]) for name in imported(path) if name.startswith("pipeline.")]
    found = {module for name in names for module in (name.with_suffix(".py"), name / "__init__.py")}
    return frozenset(found.intersection(MODULES))


def reaches_the_outside(path: pathlib.Path) -> bool:
    reached, waiting = {path}, [path]
    while waiting:
        module = waiting.pop()
        if touches_the_outside(module):
            return True
        waiting += ours(module) - reached
        reached |= ours(module)
    return False


def calls_itself_pure(path: pathlib.Path) -> bool:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return docstring.partition("\n")[0].endswith("Pure.")


def is_pure(path: pathlib.Path) -> bool:
    return calls_itself_pure(path) or not reaches_the_outside(path)


def test_the_tree_is_read() -> None:
    pure = {str(path) for path in MODULES if is_pure(path)}
    assert {"event.py", "wire/reading.py", "shards.py", "throttle_batch/batcher.py"} <= pure
    assert not {"emitter.py", "throttle_batch/stage.py", "cli.py"} & pure


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name not in TESTED_ELSEWHERE and is_pure(path)], ids=str
)
def test_a_pure_module_has_its_test(path: pathlib.Path) -> None:
    mirror = TESTS / path.parent / f"test_{path.name}"
    assert mirror.is_file(), f"pipeline/{path} needs tests/unit/{mirror.relative_to(TESTS)}"


@pytest.mark.parametrize("path", [path for path in MODULES if calls_itself_pure(path)], ids=str)
def test_what_calls_itself_pure_is(path: pathlib.Path) -> None:
    assert touches_the_outside(path) == set()


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS))
)
def test_a_test_file_has_its_module(path: pathlib.Path) -> None:
    """So that a module that moved takes its test along; the files of pipeline tested together are named."""
    together = {"test_tree.py", "test_docs.py", "test_configs.py", "test_mutations.py", "test_adapters.py"}
    together |= {"test_ops.py"}
    module = path.relative_to(TESTS).with_name(path.name.removeprefix("test_"))
    assert path.name in together or module in MODULES
