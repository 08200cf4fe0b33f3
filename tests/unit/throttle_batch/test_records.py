from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.throttle_batch.records import LifeRecord, LifeState, decode_state, encode_state

NUMBER = st.integers(0, 2**53)
STATES = st.builds(
    LifeState,
    folded=NUMBER,
    created_ms=NUMBER,
    frames=NUMBER,
    merged=NUMBER,
    best_effort=st.booleans(),
    status=st.sampled_from(["running", "completed", "failed"]),
    phase=st.none() | st.text(max_size=20),
    progress=st.none() | st.floats(0, 100),
    counts=st.dictionaries(st.text(max_size=9), NUMBER, max_size=5),
)


@given(state=STATES)
def test_a_state_comes_back_as_it_was(state: LifeState) -> None:
    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"folded":1}', b'{"folded":"1","created_ms":2}', b"\xff\xfe"]
)
def test_rubbish_is_no_state(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_state(raw)


def test_a_state_of_a_later_version_can_be_read() -> None:
    """A field that is not known here is left out, so that going back one version needs no recovery."""
    assert decode_state(b'{"folded":1,"created_ms":2,"hosts":[1]}') == LifeState(folded=1, created_ms=2)


def test_a_life_has_ended_with_its_terminal_event() -> None:
    state = LifeState(folded=0, created_ms=0)
    assert not LifeRecord("scan/a", 7, 1, None, 5, state).ended
    assert LifeRecord("scan/a", 7, 1, 0, 5, state).ended
