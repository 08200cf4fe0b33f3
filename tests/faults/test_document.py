"""docs/FAULTS.md tells of every fault test and every mutant, and of no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.faults.mutants import MUTANTS

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "FAULTS.md").read_text()


def test_every_test_is_told() -> None:
    functions = {
        node.name
        for path in HERE.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert set(re.findall(r"`(test_\w+)`", DOCUMENT)) == functions


def test_every_mutant_is_told() -> None:
    gate = DOCUMENT.partition("\n## The mutation gate\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([a-z][^|]*?) \|", gate, re.MULTILINE)[1:] == list(MUTANTS)
