"""Each benchmark runs in its smallest size, ends well, and writes its section; its figures say nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PATIENCE

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
NAMES.remove("page")  # loads the largest scan in a browser: minutes


@pytest.mark.system
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    shutil.copy(ROOT / "docs" / "BENCHMARKS.md", tmp_path)
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--smallest", "--into", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100 * PATIENCE,
        env={"SCANSTREAM_TEST_FRESH": "0", **os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    kept = json.loads((tmp_path / "benchmarks" / f"{name}.json").read_text())
    assert kept["tables"]
    assert all(len(row) == len(table["columns"]) for table in kept["tables"] for row in table["rows"])
    assert "with `--smallest`" in (tmp_path / "BENCHMARKS.md").read_text()
