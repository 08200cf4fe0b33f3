"""What every fault test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.stand import Stand
from tests.harness import private_dir


@pytest.fixture
def stands() -> Iterator[Callable[..., Stand]]:
    """Give a maker of stands, not begun; each is ended for certain."""
    with ExitStack() as stack:

        def make(*names: str, **options: Any) -> Stand:
            chosen: Sequence[str] = names or ("throttle-batch-0", "ingest-0", "edge-0")
            stand = Stand(stack.enter_context(private_dir()), chosen, **options)
            stack.callback(stand.close)
            return stand

        yield make
