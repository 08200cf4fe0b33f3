from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import FACT, Catalogue, CatalogueEntry, EventClass
from pipeline.throttle_batch.runs import read_runs
from tests.unit.throttle_batch.conftest import CATALOGUE, START, TERMINAL, critical, fact, state, treatment


def shape(raws: list[bytes | None], catalogue: Catalogue = CATALOGUE) -> list[tuple[int, int]]:
    """(offset, length) of each run."""
    return [(run.offset, len(run)) for run in read_runs(raws, catalogue)[0]]


def test_facts_share_a_run_and_nothing_else_does() -> None:
    events = [fact(1), fact(2), state("x"), state("x"), fact(3), critical(), TERMINAL, START, fact(4)]
    assert shape(events) == [(0, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1)]
    assert shape([fact(1)] * 5) == [(0, 5)]
    assert shape([]) == []


def test_a_start_is_a_run_of_its_own_however_it_is_treated() -> None:
    catalogue = Catalogue({"scanStarted": CatalogueEntry(EventClass.FACT)})
    assert shape([fact(1), START, fact(2)], catalogue) == [(0, 1), (1, 1), (2, 1)]


def test_what_is_no_event_is_in_no_run() -> None:
    runs, rejected = read_runs([fact(1), None, b"{", fact(2), fact(3)], CATALOGUE)
    assert [(run.offset, run.raws) for run in runs] == [(0, [fact(1)]), (3, [fact(2)]), (4, [fact(3)])]
    assert [error.reason for error in rejected] == ["json"]


EVENTS = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from([b"{", TERMINAL, START, critical(1), state("x", 1), b'{"type":"mine"}']),
        st.builds(fact, st.integers(0, 9), st.integers(0, 100)),
    ),
    max_size=20,
)


@given(raws=EVENTS)
def test_runs_hold_every_event_in_its_place(raws: list[bytes | None]) -> None:
    runs, rejected = read_runs(raws, CATALOGUE)
    held = [(run.offset + index, raw) for run in runs for index, raw in enumerate(run.raws)]
    assert held == [(index, raw) for index, raw in enumerate(raws) if raw not in (None, b"{")]
    assert len(rejected) == raws.count(b"{")
    for run in runs:
        assert [treatment(raw) for raw in run.raws] == [run.treatment] * len(run)
        assert len(run.events) == len(run)
        assert run.size_bytes == sum(map(len, run.raws))
        assert len(run) == 1 or run.treatment is FACT


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20), room=st.integers(-10, 5_000))
def test_what_fits_is_the_longest_beginning(sizes: list[int], room: int) -> None:
    (run,) = read_runs([fact(1, size) for size in sizes], CATALOGUE)[0]
    count = run.fitting(room)
    assert sum(map(len, run.raws[:count])) <= room or count == 0
    assert count == len(run) or sum(map(len, run.raws[: count + 1])) > room


@given(cut=st.integers(0, 6))
def test_parts_of_a_run_keep_their_numbers(cut: int) -> None:
    (run,) = read_runs([fact(number) for number in range(6)], CATALOGUE)[0]
    run.first, run.received_at = 11, 2.0
    parts = [run.part(0, cut), run.part(cut, 6)]
    assert [part.first for part in parts] == [11, 11 + cut]
    assert [part.offset for part in parts] == [0, cut]
    assert parts[0].raws + parts[1].raws == run.raws
    assert parts[0].events + parts[1].events == run.events
    assert sum(part.size_bytes for part in parts) == run.size_bytes
    assert {part.received_at for part in parts} == {2.0}
