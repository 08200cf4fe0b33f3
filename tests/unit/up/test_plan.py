"""Which processes are run, and with what command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, LayoutError
from pipeline.up.config import StagesSection, UpConfig
from pipeline.up.plan import (
    EDGE,
    FEED,
    INGEST,
    NOTIFY,
    WORKER,
    Place,
    Program,
    demo,
    number_of_shards,
    owners,
    programs,
    succession,
)

PLACE = Place(run_dir=Path("/run/x"), data_dir=Path("/data/x"), shards=4)


def value(program: Program, flag: str) -> str | None:
    """Return what stands behind a flag."""
    arguments = program.arguments
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


def test_one_of_each_by_default() -> None:
    found = programs(UpConfig(), PLACE, ())
    assert [program.name for program in found] == ["throttle-batch-0", "ingest-0", "edge-0"]
    assert [program.stop_group for program in found] == [WORKER, INGEST, EDGE]
    assert all(program.lasting for program in found)
    assert all(value(program, "--run-dir") == "/run/x" for program in found)
    assert all(value(program, "--shards") == "4" for program in found)
    worker, ingest, edge = found
    assert (value(worker, "--data-dir"), value(worker, "--own")) == ("/data/x", "0,1,2,3")
    assert value(ingest, "--index") == "0"
    assert (value(edge, "--port"), value(edge, "--index"), edge.listen_fd) == ("8800", "0", None)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_every_shard_has_exactly_one_worker(workers: int) -> None:
    found = programs(UpConfig(stages=StagesSection(workers=workers)), PLACE, ())
    owned = [value(program, "--own") for program in found if program.stop_group == WORKER]
    assert len(owned) == workers
    assert sorted(int(shard) for own in owned for shard in (own or "").split(",")) == [0, 1, 2, 3]


def test_who_owns_which_shard() -> None:
    found = programs(UpConfig(stages=StagesSection(workers=3)), PLACE, ())
    assert owners(found) == {
        0: "throttle-batch-0",
        1: "throttle-batch-1",
        2: "throttle-batch-2",
        3: "throttle-batch-0",
    }


def test_several_edges_share_the_port_and_several_ingests_are_numbered() -> None:
    found = programs(UpConfig(stages=StagesSection(ingests=2, edges=3, port=81)), PLACE, (), [7, 8, 9])
    edges = [program for program in found if program.stop_group == EDGE]
    assert [(value(edge, "--index"), value(edge, "--port"), edge.listen_fd) for edge in edges] == [
        ("0", "81", 7),
        ("1", "81", 8),
        ("2", "81", 9),
    ]
    assert [value(program, "--index") for program in found if program.stop_group == INGEST] == ["0", "1"]
    assert len({program.name for program in found}) == len(found)


def test_an_edge_is_followed_by_one_that_takes_its_socket_and_a_free_index() -> None:
    found = programs(UpConfig(stages=StagesSection(edges=2, workers=2)), PLACE, (), [7, 8])
    pairs = succession([*found, demo(PLACE)])
    assert [(old.name, new.name) for old, new in pairs] == [
        ("throttle-batch-0", "throttle-batch-0"),
        ("throttle-batch-1", "throttle-batch-1"),
        ("ingest-0", "ingest-0"),
        ("edge-0", "edge-2"),
        ("edge-1", "edge-0"),
    ]
    assert [(value(new, "--index"), new.listen_fd) for _, new in pairs[3:]] == [("2", 7), ("0", 8)]
    again = succession([new for _, new in pairs])
    assert [(old.name, new.name) for old, new in again[3:]] == [("edge-2", "edge-1"), ("edge-0", "edge-2")]
    assert [new.listen_fd for _, new in again[3:]] == [7, 8]


def test_each_stage_gets_its_config_file_and_what_is_handed_on() -> None:
    stages = StagesSection(ingest_config="i.toml", throttle_batch_config="t.toml", edge_config="e.toml")
    found = programs(UpConfig(stages=stages), PLACE, ("--profile", "low-latency"))
    assert {program.name: value(program, "-c") for program in found} == {
        "ingest-0": "i.toml",
        "throttle-batch-0": "t.toml",
        "edge-0": "e.toml",
    }
    assert all(value(program, "--profile") == "low-latency" for program in found)


def test_hooks_are_told_only_if_there_are_some() -> None:
    assert "notify" not in [program.name for program in programs(UpConfig(), PLACE, ())]
    config = UpConfig(stages=StagesSection(notify_config="n.toml"))
    found = {program.name: program for program in programs(config, PLACE, ("--log-level", "error"))}
    assert (value(found["notify"], "-c"), value(found["notify"], "--data-dir")) == ("n.toml", "/data/x")
    assert value(found["notify"], "--log-level") == "error"
    assert WORKER < found["notify"].stop_group == NOTIFY < EDGE


def test_more_workers_than_the_data_directory_has_shards_are_refused() -> None:
    place = Place(run_dir=Path("/r"), data_dir=Path("/d"), shards=2)
    with pytest.raises(ConfigError, match=r"workers = 3: must be <= shards \(2\)"):
        programs(UpConfig(stages=StagesSection(workers=3)), place, ())


def test_the_demo_plays_once_and_is_stopped_first() -> None:
    program = demo(PLACE)
    assert not program.lasting
    assert program.stop_group == FEED < min(INGEST, WORKER, EDGE)
    assert (program.arguments[0], value(program, "--scan")) == ("emit", "demo")
    assert value(program, "--run-dir") == "/run/x"
    assert (value(program, "--name"), value(program, "--target")) == ("A simulated office", "10.0.0.0/24")


@pytest.mark.parametrize(
    ("configured", "made_with", "expected"), [(0, None, 4), (7, None, 7), (0, 16, 16), (16, 16, 16)]
)
def test_number_of_shards(configured: int, made_with: int | None, expected: int) -> None:
    assert number_of_shards(configured, made_with, Path("/d")) == expected


def test_another_number_of_shards_than_the_data_directory_has_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"/d was made with 4 shards, but 8 are configured") as caught:
        number_of_shards(8, 4, Path("/d"))
    assert caught.value.exit_code == 78
