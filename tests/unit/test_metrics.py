"""Names and values of metrics, by the rules of Prometheus."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics import (
    GAUGES,
    HISTOGRAMS,
    LATENCY_S,
    TEXTS,
    Histogram,
    families,
    metric_name,
    prefix,
)

NAMES = [(stage, base) for stage, texts in TEXTS.items() for base in texts]
TIMES = [(stage, base) for stage, texts in HISTOGRAMS.items() for base in texts]
OTHER_UNITS = {"ms", "milliseconds", "us", "minutes", "hours", "kilobytes", "kib", "mib", "percent"}


@pytest.mark.parametrize(("stage", "base"), [*NAMES, *TIMES])
def test_names_follow_the_rules(stage: str, base: str) -> None:
    name = metric_name(stage, base)
    assert re.fullmatch(r"pipeline_[a-z][a-z0-9_]*", name)
    assert name.startswith(prefix(stage) + "_")
    words = name.split("_")
    assert not OTHER_UNITS & set(words), "base units only"
    assert not {"seconds", "bytes"} & set(words[:-1]), "the unit is the last word"
    assert not name.endswith(("_total", "_count", "_sum", "_bucket")), "these are added, and mean something"


@pytest.mark.parametrize("stage", TEXTS)
def test_each_has_a_name_of_its_own_and_every_gauge_a_text(stage: str) -> None:
    named = [metric_name(stage, base) for base in [*TEXTS[stage], *HISTOGRAMS[stage]]]
    assert sorted(set(named)) == sorted(named)
    assert GAUGES[stage] <= set(TEXTS[stage])
    assert all(text.endswith(".") and "\n" not in text for text in TEXTS[stage].values())


def test_a_counter_becomes_a_metric_with_its_labels() -> None:
    counters = {"readers{wire=sse,pace=10}": 2.0, "closed{code=1006}": 1.0, "closed{code=4008}": 3.0}
    assert [(found.name, found.kind, found.samples) for found in families("edge", [({}, counters)])] == [
        ("pipeline_edge_closed", "counter", [({"code": "1006"}, 1.0), ({"code": "4008"}, 3.0)]),
        ("pipeline_edge_readers", "gauge", [({"wire": "sse", "pace": "10"}, 2.0)]),
    ]


def test_the_parts_of_a_process_share_a_metric() -> None:
    [events] = families("throttle-batch", [({"shard": "0"}, {"events": 1}), ({"shard": "1"}, {"events": 2})])
    assert events.samples == [({"shard": "0"}, 1.0), ({"shard": "1"}, 2.0)]


def test_a_counter_in_no_table_is_told_all_the_same() -> None:
    [found] = families("ingest", [({}, {"new_thing": 1.0})])
    assert (found.name, found.kind) == ("pipeline_ingest_new_thing", "counter")


@given(st.lists(st.floats(-1, 100)))
def test_a_histogram_holds_what_it_was_given(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    for bound, count in histogram.buckets():
        assert count == sum(value <= float(bound) for value in values)
    assert len(histogram.buckets()) == len(LATENCY_S) + 1
    assert histogram.sum_s == pytest.approx(sum(max(0.0, value) for value in values))


def test_on_a_bound_is_within_it() -> None:
    histogram = Histogram()
    histogram.observe(LATENCY_S[0])
    assert histogram.buckets()[0] == (str(LATENCY_S[0]), 1.0)
