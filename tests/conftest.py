"""Fixtures that every test may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness import PATIENCE, Pipeline, private_dir

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scale how long a test may take with everything else that is waited for."""
    if PATIENCE == 1 or config.getoption("timeout") is not None:
        return
    usual_s = float(config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        limit_s = float(own.args[0]) if own is not None else usual_s
        item.add_marker(pytest.mark.timeout(limit_s * PATIENCE), append=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what fails, for `bin/test`: once a test, its name as pytest takes it."""
    place = os.environ.get("SCANSTREAM_TEST_FAILURES")
    if place is None or not report.failed or "PYTEST_XDIST_WORKER" in os.environ:
        return
    name = re.sub(r"@[^]]*$", "", report.nodeid)  # xdist adds the group
    line = f"{'crashed' if report.when == '???' else 'failed'} {name}\n"
    with open(place, "a+", encoding="utf-8") as file:
        file.seek(0)
        if line not in file.readlines():
            file.write(line)


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
