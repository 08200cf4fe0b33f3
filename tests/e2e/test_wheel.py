"""What `pip install` brings is whole: a pipeline runs from it, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE, free_port, private_dir

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with what the wheel holds."""
    place = tmp_path_factory.mktemp("wheel")
    # What is tracked is copied, so that nothing else gets into the wheel, and nothing into the source tree.
    source = place / "source"
    source.mkdir()
    archive = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, archive.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(place),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=110 * PATIENCE)
    (wheel,) = place.glob("scanstream-*.whl")
    target = place / "installed"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(target)
    return target


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty private directory."""
    with private_dir() as made:
        yield made


def test_a_pipeline_runs_from_a_wheel(installed: Path, place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "pipeline", "up", "--port", str(free_port())]
    command += [
        "--run-dir",
        str(place / "run"),
        "--data-dir",
        str(place / "data"),
        "--profile",
        "low-latency",
    ]
    where = subprocess.run(
        [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed)
    with (
        open(place / "said", "w+b") as said,
        subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
        ) as up,
    ):
        try:
            assert up.stdout is not None
            ready = up.stdout.readline()
            assert ready.startswith("ready edge="), (place / "said").read_text()
            url = ready.removeprefix("ready edge=").split()[0]
            for path in ("", "static/app.js", "api/scans", "readyz"):
                with urllib.request.urlopen(url + path, timeout=10 * PATIENCE) as answer:
                    assert answer.status == 200
        finally:
            up.terminate()
            up.communicate(timeout=20 * PATIENCE)
    assert up.returncode == 0
