"""Which names were changed since when: a reader that applies what it is told misses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import changes
from pipeline.changes import Changes


def test_what_was_changed_since_a_version_is_told_once() -> None:
    log = Changes()
    assert (log.version, log.since(0)) == (0, [])
    for name in ("a", "b", "a"):
        log.touch(name)
    assert log.since(0) == ["a", "b"]
    assert log.since(1) == ["a", "b"]
    assert log.since(2) == ["a"]
    assert log.since(3) == []


def test_a_version_that_was_never_given_needs_the_whole() -> None:
    log = Changes()
    log.touch("a")
    assert [log.since(version) for version in (-1, 2)] == [None, None]


def test_so_many_names_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_NAMES", 2)
    log = Changes()
    for name in ("a", "b", "a", "c"):  # b is forgotten, changed last as number 2
        log.touch(name)
    assert [log.since(version) for version in range(5)] == [None, None, ["c", "a"], ["c"], []]


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1))
def test_readers_that_come_at_any_time_know_all_in_the_end(rounds: list[list[str]]) -> None:
    log, at = Changes(), {0: 0}
    told: list[tuple[int, set[str]]] = []
    for step, names in enumerate(rounds):
        for name in names:
            log.touch(name)
        at[step + 1] = log.version
        told.append((log.version, set(names)))
    for step in range(len(rounds)):
        assert set(log.since(at[step]) or []) == set().union(*(names for _, names in told[step:]))
