"""Tickets: what is signed is what is read, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TokenProblem, TokenRejected
from pipeline.tickets import MAX_TICKET_CHARS, Ticket, issue, read_ticket, stream_of
from pipeline.tokens import MAX_SCANS, MAX_SUBJECT_CHARS, Identity

KEY = b"k" * 32
ADA = Identity("ada", False, ("lab-*",), 2_000.0, "id-1")
IN_TIME = 1_000.0
ENDS_AT = 1_030.0


def ticket(**changes: object) -> str:
    told = {"key": KEY, "ticket_id": "0" * 32, "stream": "scan:office", "ends_at": ENDS_AT, "identity": ADA}
    return issue(**{**told, **changes})  # type: ignore[arg-type]  # as each test says


def refused(text: str, stream: str = "scan:office", now_s: float = IN_TIME, key: bytes = KEY) -> TokenProblem:
    with pytest.raises(TokenRejected) as caught:
        read_ticket(key, text, stream, now_s)
    assert len(text) < 40 or text not in str(caught.value)
    return caught.value.problem


def test_whose_it_is_comes_back() -> None:
    read = read_ticket(KEY, ticket(), "scan:office", IN_TIME)
    assert isinstance(read, Ticket)
    assert (read.identity, read.ticket_id, read.ends_at) == (ADA, "0" * 32, ENDS_AT)


def test_it_ends_with_its_time_and_with_its_token() -> None:
    read_ticket(KEY, ticket(), "scan:office", ENDS_AT - 0.001)
    assert refused(ticket(), now_s=ENDS_AT) is TokenProblem.EXPIRED
    short = Identity("ada", expires_at=1_010.0)
    assert refused(ticket(identity=short), now_s=1_010.0) is TokenProblem.EXPIRED


def test_it_is_for_one_stream() -> None:
    for stream in (stream_of("home"), stream_of(None), "scan:office2"):
        assert refused(ticket(), stream) is TokenProblem.AUDIENCE
    assert stream_of("stats") != stream_of(None)


def test_what_was_signed_with_another_key_or_changed_is_refused() -> None:
    assert refused(ticket(key=b"x" * 32)) is TokenProblem.SIGNATURE
    said, signature = ticket().split(".")
    other = ticket(identity=Identity("root", admin=True, expires_at=2_000.0)).split(".")[0]
    assert refused(f"{other}.{signature}") is TokenProblem.SIGNATURE
    for forged in (said, f"{said}.", f"{said}.{signature}.", f"{said}.é", f".{signature}", ""):
        assert refused(forged) in {TokenProblem.SIGNATURE, TokenProblem.MALFORMED}


def test_the_largest_identity_fits() -> None:
    widest = Identity("s" * MAX_SUBJECT_CHARS, False, ("p" * MAX_SUBJECT_CHARS,) * MAX_SCANS, 2_000.0)
    text = ticket(identity=widest)
    assert len(text) <= MAX_TICKET_CHARS
    assert read_ticket(KEY, text, "scan:office", IN_TIME).identity == widest
    assert refused("a" * (MAX_TICKET_CHARS + 1)) is TokenProblem.MALFORMED


@given(st.text(max_size=200))
def test_rubbish_is_refused(text: str) -> None:
    refused(text)
