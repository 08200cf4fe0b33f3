from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.frame import Frame
from pipeline.throttle_batch.config import BatchSection
from pipeline.wire import browser_batch
from tests.unit.throttle_batch.conftest import Core, check_ledger, critical, fact, state, what

LIMIT = 1_000


def filled(core: Core, events: list[bytes], limit: int = LIMIT):
    batch = core.pending.PendingBatch("scan/a", 7, limit)
    for run in core.read(events):
        run.first, run.received_at = run.offset + 1, run.offset + 1.0
        batch.add(run)
    return batch


def cut_all(batch) -> list[Frame]:
    frames = []
    while (frame := batch.cut()) is not None:
        frames.append(frame)
    return frames


def test_an_empty_batch_gives_nothing(core: Core) -> None:
    batch = filled(core, [])
    assert batch.cut() is None
    assert batch.cut_critical() == []
    assert not batch.has_critical
    assert len(batch) == batch.size_bytes == 0


def check_state_merging(core: Core) -> None:
    """The latest of a key survives at its own place; other keys and facts are left alone."""
    events = [state("x", 1), fact(1), state("y", 2), state("x", 3), state("x", 4), fact(2)]
    frame = filled(core, events).cut()
    assert (frame.first, frame.last, frame.merged) == (1, 6, 2)
    assert frame.events == (events[1], events[2], events[4], events[5])
    assert frame.at == (1, 2, 4, 5)
    assert frame.state == ((1, "scanProgress:y"), (2, "scanProgress:x"))
    check_ledger([frame], events)


def test_state_merging(core: Core) -> None:
    check_state_merging(core)


def test_without_merging_there_is_no_at(core: Core) -> None:
    frame = filled(core, [fact(1), state("x", 1)]).cut()
    assert frame.at == ()
    assert frame.merged == 0
    assert frame.state == ((1, "scanProgress:x"),)


def test_a_message_of_the_largest_frame_is_less_than_a_mebibyte(core: Core) -> None:
    """More than that some clients refuse, Python's `websockets` for one; commas and offsets count."""
    limit = BatchSection().max_frame_bytes
    small = b'{"type":"note","text":"found"}'
    frame = filled(core, [state("x", 1), state("x", 2), *[small] * (limit // len(small))], limit).cut()
    assert frame.merged == 1, "so that each event's offset is told"
    assert sum(map(len, frame.events)) > limit - 2 * len(small)
    body = b"[" + b",".join(frame.events) + b"]"
    seq = 2**53 - limit
    message = browser_batch("s" * 64, 2**53, seq, seq + frame.last, 1, frame.at, body)
    assert len(message) < 1_048_576


def test_keys_of_different_types_do_not_meet(core: Core) -> None:
    report = b'{"type":"reportPhase","report_id":"x","phase":"p","progress":0.5}'
    frame = filled(core, [state("x", 1), report]).cut()
    assert frame.merged == 0
    assert [key for _, key in frame.state] == ["scanProgress:x", "reportPhase:x"]


def test_a_frame_ends_before_it_grows_past_its_limit(core: Core) -> None:
    events = [fact(number, 400) for number in range(5)]
    frames = cut_all(filled(core, events, 800))
    assert [(frame.first, frame.last) for frame in frames] == [(1, 2), (3, 4), (5, 5)]
    check_ledger(frames, events)


def test_one_event_larger_than_the_limit_goes_alone(core: Core) -> None:
    frames = cut_all(filled(core, [fact(1), fact(2, 5_000), fact(3)]))
    assert [(frame.first, frame.last) for frame in frames] == [(1, 1), (2, 2), (3, 3)]


def test_what_is_replaced_makes_room(core: Core) -> None:
    events = [state("x", number, 600) for number in range(20)]
    frames = cut_all(filled(core, events))
    assert [(frame.first, frame.last, frame.merged) for frame in frames] == [(1, 20, 19)]


def check_criticals_keep_their_place(core: Core) -> None:
    events = [fact(1), fact(2), critical(1), fact(3), critical(2), fact(4)]
    batch = filled(core, events)
    assert batch.has_critical
    frames = batch.cut_critical()
    assert [(frame.first, frame.last, what(frame)) for frame in frames] == [(1, 2, ""), (3, 5, "c")]
    assert not batch.has_critical
    assert len(batch) == 1
    assert batch.first_at == 6.0
    check_ledger([*frames, batch.cut()], events)


def test_criticals_keep_their_place(core: Core) -> None:
    check_criticals_keep_their_place(core)


def test_the_critical_part_may_take_several_frames(core: Core) -> None:
    events = [critical(1, 400), fact(1, 400), fact(2, 400), critical(2, 400)]
    batch = filled(core, events)
    frames = batch.cut_critical()
    assert [(frame.first, frame.last, what(frame)) for frame in frames] == [
        (1, 2, "c"),
        (3, 3, ""),
        (4, 4, "c"),
    ]
    check_ledger(frames, events)


EVENTS = st.lists(
    st.one_of(
        st.builds(fact, st.integers(0, 9), st.integers(0, 600)),
        st.builds(state, st.sampled_from("xyz"), st.integers(0, 99), st.integers(0, 600)),
        st.builds(critical, st.integers(0, 9), st.integers(0, 600)),
    ),
    max_size=40,
)


@given(events=EVENTS, critical_first=st.booleans())
@settings(max_examples=100, deadline=None)
def test_frames_are_views_of_the_log(core: Core, events: list[bytes], critical_first: bool) -> None:
    batch = filled(core, events)
    assert batch.size_bytes == sum(map(len, events))
    frames = batch.cut_critical() if critical_first else []
    if critical_first:
        assert not batch.has_critical
    frames += cut_all(batch)
    assert batch.size_bytes == 0
    if critical_first:
        check_ledger(frames, events)
    for frame in frames:
        assert sum(map(len, frame.events)) <= LIMIT or len(frame.events) == 1
