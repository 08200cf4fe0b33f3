"""What a configuration that is read anew changes, and what it does not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.edge.config import LIVE_KEYS as EDGE_KEYS
from pipeline.edge.config import EdgeConfig, HeartbeatSection, LimitsSection
from pipeline.errors import ConfigError
from pipeline.ingest.config import LIVE_KEYS as INGEST_KEYS
from pipeline.log import Log, start_log
from pipeline.notify.config import Hook, NotifyConfig
from pipeline.options import config_class
from pipeline.reread import differing, read_anew, with_keys
from pipeline.sections import LogSection
from pipeline.settings import keys
from pipeline.throttle_batch.config import LIVE_KEYS as WORKER_KEYS

BEFORE = EdgeConfig()
AFTER = EdgeConfig(
    limits=LimitsSection(max_connections=5, max_lag_s=7.0), heartbeat=HeartbeatSection(client_timeout_s=9.0)
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before


def opened(stream: io.StringIO) -> Log:
    return start_log("edge-0", "info", "json", stream)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("stage", "live"), [("ingest", INGEST_KEYS), ("throttle-batch", WORKER_KEYS), ("edge", EDGE_KEYS)]
)
def test_what_is_taken_over_is_declared(stage: str, live: frozenset[str]) -> None:
    assert live <= {f"{key.section}.{key.key}" for key in keys(config_class(stage))}


def test_the_keys_that_differ_and_only_they() -> None:
    assert differing(BEFORE, BEFORE) == []
    assert differing(BEFORE, AFTER) == [
        "heartbeat.client_timeout_s",
        "limits.max_connections",
        "limits.max_lag_s",
    ]


def test_what_is_taken_over_and_nothing_else() -> None:
    config = with_keys(BEFORE, AFTER, {"limits.max_connections"})
    assert differing(BEFORE, config) == ["limits.max_connections"]
    assert config.limits.max_connections == 5


def test_it_is_told_what_changed_and_what_needs_a_restart(stream: io.StringIO) -> None:
    config = read_anew(lambda: AFTER, BEFORE, EDGE_KEYS, opened(stream))
    assert config is not None
    assert config.limits.max_connections == 5
    assert config.limits.max_lag_s == BEFORE.limits.max_lag_s
    [line] = lines(stream)
    assert line["changed"] == "limits.max_connections"
    assert line["needs_restart"] == "heartbeat.client_timeout_s, limits.max_lag_s"


def test_a_section_with_free_keys_is_taken_over_as_a_whole(stream: io.StringIO) -> None:
    hooks = {name: Hook(url=f"http://{name}/", on=["completed"], secret_env="S") for name in ("a", "b", "c")}
    before = NotifyConfig(hooks={"a": hooks["a"], "b": hooks["b"]})
    after = NotifyConfig(hooks={"b": hooks["c"], "c": hooks["c"]})
    assert read_anew(lambda: after, before, {"hooks.*"}, opened(stream)) == after
    [line] = lines(stream)
    assert (line["changed"], line["needs_restart"]) == ("hooks.a, hooks.b, hooks.c", "")


def test_a_wrong_one_is_refused_with_every_mistake(stream: io.StringIO) -> None:
    def read() -> EdgeConfig:
        raise ConfigError(["one", "two"])

    assert read_anew(read, BEFORE, EDGE_KEYS, opened(stream)) is None
    told = [(line["fact"], line["level"], line["problem"]) for line in lines(stream)]
    assert told == [("configuration refused; the old one holds", "error", text) for text in ("one", "two")]


def test_one_that_is_right_only_with_a_restart_is_refused(stream: io.StringIO) -> None:
    """What holds afterwards must be right as a whole, too."""
    after = EdgeConfig(heartbeat=HeartbeatSection(interval_s=40.0, client_timeout_s=90.0))
    live = {"heartbeat.interval_s"}
    assert read_anew(lambda: after, BEFORE, live, opened(stream)) is None
    [line] = lines(stream)
    assert line["problem"].endswith("(with what needs a restart left as it is)")


def test_the_log_follows(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    log = opened(stream).bind(shard=1)
    after = EdgeConfig(log=LogSection(level="error", format="json"))
    assert read_anew(lambda: after, BEFORE, EDGE_KEYS, log) is not None
    log.warning("no more of this")
    log.error("but of this")
    assert [json.loads(line)["fact"] for line in capsys.readouterr().err.splitlines()] == ["but of this"]
