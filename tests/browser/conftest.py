"""A browser for each file of tests, a new context for each page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.e2e.browsing import Dashboard, chromium
from tests.harness import Pipeline


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser."""
    with chromium() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, pipeline: Pipeline) -> Iterator[Callable[..., Dashboard]]:
    """Give a function that opens a page in a context of its own; its arguments are the context's.

    Unless the test empties `problems`, there must be none on any page.
    """
    opened: list[Dashboard] = []

    def new(**context: Any) -> Dashboard:
        dashboard = Dashboard(browser.new_context(**context).new_page(), pipeline.url)
        opened.append(dashboard)
        return dashboard

    yield new
    problems = [problem for dashboard in opened for problem in dashboard.problems]
    for dashboard in opened:
        dashboard.page.context.close()
    assert problems == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests two at a time at most: a Chromium takes a processor, and more of them only time out."""
    here = Path(__file__).parent
    files = sorted({item.path for item in items if item.path.is_relative_to(here)})
    for item in items:
        if item.path in files:
            item.add_marker(pytest.mark.xdist_group(f"browser {files.index(item.path) % 2}"))
