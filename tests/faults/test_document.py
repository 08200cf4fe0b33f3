"""docs/FAULTS.md tells of every fault test and every mutant; whatever it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "FAULTS.md").read_text()


def functions_in(place: Path) -> set[str]:
    return {
        node.name
        for path in place.rglob("test_*.py")
        if path != Path(__file__)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_is_told() -> None:
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert functions_in(HERE) - named == set()
    assert named - functions_in(HERE.parent) == set(), "named, and not there"


def test_every_mutant_is_told() -> None:
    gate = DOCUMENT.partition("\n## The mutation gate\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([a-z][^|]*?) \|", gate, re.MULTILINE)[1:] == list(MUTANTS)


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_breaks_the_code_as_it_is(name: str) -> None:
    compile(MUTANTS[name].source(), name, "exec")
