"""What a browser may ask, and what it is told when it asks otherwise."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.browser_actions import (
    ACTIONS_OF_ONE,
    ACTIONS_OF_SEVERAL,
    ACTIONS_OF_STATS,
    AckAction,
    BadAction,
    FilterAction,
    PingAction,
    SubscribeAction,
    UnsubscribeAction,
    read_action,
)
from pipeline.edge.filter import read_filter
from pipeline.wire import PING


def test_a_filter_is_read_as_in_the_address() -> None:
    text = '{"action":"filter","types":["portFound","lost"],"min_severity":"High","cidr":"10.0.0.0/8,::1"}'
    action = read_action(text, ACTIONS_OF_ONE)
    assert isinstance(action, FilterAction)
    assert action.read() == read_filter(["portFound,lost"], "High", ["10.0.0.0/8", "::1"])
    cleared = read_action(b'{"action":"filter"}', ACTIONS_OF_ONE)
    assert isinstance(cleared, FilterAction)
    assert cleared.read() is None


def test_a_ping_is_one_on_every_stream() -> None:
    for allowed in (ACTIONS_OF_ONE, ACTIONS_OF_SEVERAL, ACTIONS_OF_STATS):
        assert isinstance(read_action('{"action":"ping"}', allowed), PingAction)
        assert isinstance(read_action(PING, allowed), PingAction), "as our clients say it"
    with pytest.raises(BadAction, match="action 'filter' is not for this stream"):
        read_action('{"action":"filter"}', ACTIONS_OF_STATS)


@pytest.mark.parametrize(
    ("message", "seq"),
    [
        ('{"action":"ack","seq":7}', 7),
        (b'{"seq":0,"action":"ack","more":1}', 0),
        ('{"action":"ack"}', None),
        ('{"action":"ack","seq":"7"}', None),
        ('{"action":"ack","seq":7.5}', None),
    ],
)
def test_acks(message: str | bytes, seq: int | None) -> None:
    try:
        action = read_action(message, ACTIONS_OF_ONE)
    except BadAction:
        assert seq is None
        return
    assert isinstance(action, AckAction)
    assert action.seq == seq
    with pytest.raises(BadAction, match="scan_id is needed"):
        read_action(message, ACTIONS_OF_SEVERAL)


def test_a_subscription_names_a_scan_and_a_filter() -> None:
    text = '{"action":"subscribe","scan_id":"demo","since":"7:3","level":"summary"}'
    action = read_action(text, ACTIONS_OF_SEVERAL)
    assert isinstance(action, SubscribeAction)
    assert (action.scan_id, action.since, action.read()) == ("demo", "7:3", read_filter(level="summary"))
    assert read_action('{"action":"unsubscribe","stats":true}', ACTIONS_OF_SEVERAL) == UnsubscribeAction(
        stats=True
    )


@pytest.mark.parametrize(
    ("message", "several", "problem"),
    [
        ("", False, "not understood: "),
        ("[]", False, "not understood: "),
        ("{", False, "not understood: "),
        (b"\xff", False, "not understood: "),
        ("[" * 10_000, False, "not understood: "),
        ('{"action":"reboot"}', False, "not understood: Invalid value 'reboot'"),
        (
            '{"action":"filter","severity":"High"}',
            False,
            "not understood: Object contains unknown field `severity`",
        ),
        ('{"action":"filter","types":7}', False, "not understood: Expected `str | array`"),
        ('{"action":"subscribe","scan_id":"x"}', False, "action 'subscribe' is not for this stream"),
        ('{"action":"filter","scan_id":"x"}', False, "scan_id: this stream is of one scan"),
        ('{"action":"filter"}', True, "scan_id is needed"),
        ('{"action":"subscribe"}', True, "scan_id or stats is needed"),
        ('{"action":"subscribe","scan_id":"x","stats":true}', True, "scan_id or stats is needed"),
        ('{"action":"unsubscribe","scan_id":"stats"}', True, "scan_id='stats' is no scan id"),
    ],
)
def test_anything_else_is_told_what_is_wrong(message: str | bytes, several: bool, problem: str) -> None:
    with pytest.raises(BadAction, match=f"^{re.escape(problem)}"):
        read_action(message, ACTIONS_OF_SEVERAL if several else ACTIONS_OF_ONE)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["action", "scan_id", "types", "cidr"]), v),
    )
)
def test_no_json_is_an_error_of_ours(value: object) -> None:
    try:
        read_action(json.dumps(value), ACTIONS_OF_SEVERAL)
    except BadAction:
        return
    raise AssertionError(f"{value!r} was taken")
