"""What the dashboard's pages decide without a document, in Node; each reason has its meaning there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import RejectReason
from tests.harness import PATIENCE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STATIC = ROOT / "pipeline" / "edge" / "static"


@pytest.mark.system
def test_the_pages_decide_as_expected() -> None:
    node = shutil.which("node")
    assert node is not None, "needs the Debian package nodejs"
    done = subprocess.run(
        [node, HERE / "check_pages.mjs", STATIC], capture_output=True, text=True, timeout=30 * PATIENCE
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


def test_each_reason_and_problem_has_its_meaning() -> None:
    book = (STATIC / "pipeline_book.js").read_text()
    meant = re.findall(r"^  (\w+): \"", book.partition("REASONS = {")[2].partition("};")[0], re.MULTILINE)
    counters = (ROOT / "docs" / "ops" / "COUNTERS.md").read_text()
    dropped = set(re.findall(r"`dropped\{reason=(\w+)\}`", counters))
    assert set(meant) == {reason.value for reason in RejectReason} | dropped
    problems = re.findall(r"^  (\w+): \{ level", book, re.MULTILINE)
    protocol = (ROOT / "docs" / "PROTOCOL.md").read_text()
    table = protocol.partition("| problem | when |")[2].partition("\n\n")[0]
    assert problems == re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
