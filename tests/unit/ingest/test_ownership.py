"""Producer ids and scans belong to the keys they came with."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import MAX_EVENT_BYTES, check_event
from pipeline.ingest.ownership import PidOwners, with_owner


def test_a_pid_is_the_one_that_used_it_first() -> None:
    owners = PidOwners(10)
    owners.check("p", "ada")
    owners.check("p", "ada")
    owners.check("q", "bob")
    with pytest.raises(EventRejected, match="'p' was first used with another key") as caught:
        owners.check("p", "bob")
    assert caught.value.reason is RejectReason.PID_TAKEN
    owners.check("p", "ada")


def test_the_pid_that_was_used_longest_ago_is_forgotten() -> None:
    owners = PidOwners(2)
    owners.check("p", "ada")
    owners.check("q", "ada")
    owners.check("p", "ada")
    owners.check("r", "ada")
    assert len(owners) == 2
    owners.check("q", "bob")
    owners.check("r", "ada")


def test_nobody_has_anothers_pid_forgotten() -> None:
    owners = PidOwners(10)
    owners.check("p", "ada")
    for number in range(50):
        owners.check(f"m{number}", "mallory")
    assert len(owners) == 10
    with pytest.raises(EventRejected):
        owners.check("p", "mallory")
    for number in range(9):
        owners.check(f"r{number}", f"key {number}")
    owners.check("p", "ada")
    assert len(owners) == 10


def owned(raw: bytes) -> bytes:
    return with_owner(check_event(raw), raw, "ada")


@pytest.mark.parametrize("given", ["", ',"owner":null', ',"owner":""'])
def test_a_start_without_owner_gets_its_key_as_owner_and_keeps_the_rest(given: str) -> None:
    raw = ('{"type":"scanStarted","name":"Büro","big":12345678901234567890123' + given + "}").encode()
    assert json.loads(owned(raw)) == {**json.loads(raw), "owner": "ada"}
    assert b"12345678901234567890123" in owned(raw)


def test_a_name_is_quoted() -> None:
    raw = b'{"type":"scanStarted"}'
    assert json.loads(with_owner(check_event(raw), raw, 'a"b'))["owner"] == 'a"b'


@pytest.mark.parametrize(
    "raw",
    [
        b' {"owner":"ada","type":"scanStarted"}',
        b'{"type":"error","message":"m"}',
        b'{"type":"x","owner":"b"}',
    ],
)
def test_what_needs_no_owner_goes_on_byte_for_byte(raw: bytes) -> None:
    assert owned(raw) is raw


def test_another_owner_is_refused() -> None:
    with pytest.raises(EventRejected, match="names 'bob' as owner; its key may name 'ada' only") as caught:
        owned(b'{"type":"scanStarted","owner":"bob"}')
    assert caught.value.reason is RejectReason.NOT_OWNER


def test_a_start_that_its_owner_makes_too_large_is_refused() -> None:
    raw = b'{"type":"scanStarted","name":"%s"}'
    raw %= b"." * (MAX_EVENT_BYTES - len(raw) + 2)
    with pytest.raises(EventRejected, match=f"exceeds the limit of {MAX_EVENT_BYTES} bytes") as caught:
        owned(raw)
    assert caught.value.reason is RejectReason.TOO_LARGE
