from __future__ import annotations

import inspect
import re

import pytest

from pipeline import errors
from pipeline.errors import (
    ConfigError,
    EndpointError,
    EventRejected,
    LayoutError,
    NotDelivered,
    OperatorError,
    PeerError,
    PipelineError,
    RejectReason,
    TimedOut,
)

TREE = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, PipelineError)]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_stands_in_the_drawn_tree_below_its_parent(error: type[PipelineError]) -> None:
    lines = (errors.__doc__ or "").splitlines()
    drawn = {
        match[2]: (len(match[1]), index)
        for index, line in enumerate(lines)
        if (match := re.match(r"([ │├└─]*)([A-Z]\w+)\b", line)) and line.startswith("    ")
    }
    depth, index = drawn[error.__name__]
    assert (errors.__doc__ or "").count(error.__name__) == 1
    if error is not PipelineError:
        parent_depth, parent_index = drawn[error.__base__.__name__]
        assert parent_depth == depth - 4
        assert parent_index < index
        assert not any(parent_index < at < index and deep == parent_depth for deep, at in drawn.values())


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_is_ours_or_the_peers(error: type[PipelineError]) -> None:
    if error is not PipelineError:
        assert issubclass(error, OperatorError) != issubclass(error, PeerError)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_exit_codes(error: type[PipelineError]) -> None:
    own = {ConfigError: 78, LayoutError: 78, TimedOut: 124}
    assert error.exit_code == own.get(error, 1)


def test_a_config_error_says_all_mistakes() -> None:
    error = ConfigError(["a: one", "b: two"])
    assert error.problems == ["a: one", "b: two"]
    assert str(error) == "a: one\nb: two"


def test_a_rejected_event_carries_its_reason() -> None:
    error = EventRejected(RejectReason.JSON, "not JSON")
    assert (error.reason, error.message, str(error)) == (RejectReason.JSON, "not JSON", "not JSON")
    assert f"{error.reason}" == "json"


def test_what_was_not_delivered_is_counted() -> None:
    error = NotDelivered(3, "3 events are not acknowledged")
    assert error.unacked == 3
    assert str(error) == "3 events are not acknowledged"


def test_a_plain_one_carries_its_message() -> None:
    assert str(EndpointError("the path is too long")) == "the path is too long"
