"""Output that cannot be written: one line on stderr and 1; a reader that has gone: nothing and 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import PATIENCE

FULL = Path("/dev/full")


def ended(*arguments: str, stderr: int = subprocess.PIPE) -> tuple[int, bytes | None]:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            stdout=full,
            stderr=full if stderr != subprocess.PIPE else stderr,
            timeout=20 * PATIENCE,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("ingest", "--help"),
        ("throttle-batch", "--help"),
        ("edge", "--help"),
        ("up", "--help"),
        ("emit", "--help"),
        ("tail", "--help"),
        ("config", "--help"),
        ("config", "default", "edge"),
        ("config", "check", "edge"),
    ],
    ids=" ".join,
)
def test_a_full_disk_behind_the_output_is_one_line(arguments: tuple[str, ...]) -> None:
    assert ended(*arguments) == (1, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("tail", "--help"), ("config", "default", "edge")], ids=" ".join
)
def test_a_reader_that_has_gone_is_no_failure(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            stdout=write, stderr=subprocess.PIPE, timeout=20 * PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_is_said_where_nothing_can_be_said() -> None:
    assert ended("--help", stderr=subprocess.STDOUT) == (1, None)
