"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness import Pipeline, private_dir

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """Give an empty 0700 directory whose path is short enough for sockets."""
    with private_dir() as path:
        yield path


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """Give a pipeline that is not started yet."""
    with private_dir() as path:
        started = Pipeline(path)
        try:
            yield started
        finally:
            started.close()
