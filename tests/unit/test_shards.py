from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import DEFAULT_SHARDS, HASH_NAME, MAX_SHARDS, shard_of

CHANNELS = [f"scan/{number}" for number in range(4_000)]


@pytest.mark.parametrize(
    ("channel", "shards", "owner"),
    [
        ("scan/demo", 1, 0),
        ("scan/demo", 4, 2),
        ("scan/demo", 16, 11),
        ("scan/demo", 256, 11),
        ("scan/a", 1, 0),
        ("scan/a", 4, 1),
        ("scan/a", 16, 15),
        ("scan/a", 256, 57),
        ("report/a", 1, 0),
        ("report/a", 4, 3),
        ("report/a", 16, 4),
        ("report/a", 256, 4),
        ("scan/10.0.0.0-24", 1, 0),
        ("scan/10.0.0.0-24", 4, 3),
        ("scan/10.0.0.0-24", 16, 3),
        ("scan/10.0.0.0-24", 256, 53),
    ],
)
def test_the_hash_is_for_good(channel: str, shards: int, owner: int) -> None:
    """A data directory names its hash: what that name stands for must never change."""
    assert HASH_NAME == "rendezvous-blake2b64"
    assert shard_of(channel, shards) == owner


@given(channel=st.text(max_size=70), shards=st.integers(1, MAX_SHARDS))
@settings(max_examples=50, deadline=None)
def test_every_channel_has_one_owner(channel: str, shards: int) -> None:
    assert 0 <= shard_of(channel, shards) < shards
    shard_of.cache_clear()
    assert shard_of(channel, shards) == shard_of(channel, shards)


def test_one_shard_owns_all() -> None:
    assert {shard_of(channel, 1) for channel in CHANNELS} == {0}


def test_channels_spread_evenly() -> None:
    owned = Counter(shard_of(channel, DEFAULT_SHARDS) for channel in CHANNELS)
    assert len(owned) == DEFAULT_SHARDS
    assert max(owned.values()) < 1.15 * min(owned.values())


def test_a_shard_more_takes_its_share_and_moves_nothing_else() -> None:
    before = {channel: shard_of(channel, 4) for channel in CHANNELS}
    after = {channel: shard_of(channel, 5) for channel in CHANNELS}
    moved = {channel for channel in CHANNELS if before[channel] != after[channel]}
    assert {after[channel] for channel in moved} == {4}
    assert 0.15 < len(moved) / len(CHANNELS) < 0.25


def test_a_scan_and_a_report_of_one_name_are_two_channels() -> None:
    owners = [(shard_of(f"scan/{n}", 64), shard_of(f"report/{n}", 64)) for n in range(50)]
    assert any(scan != report for scan, report in owners)
