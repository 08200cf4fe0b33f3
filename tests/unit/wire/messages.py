"""Any message of a kind, for round trips; and what every decoder must bear, as checks to be called."""

from __future__ import annotations

import contextlib
import types
import typing
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import strategies as st

from pipeline.errors import MessageMalformed
from pipeline.event_json import encode_event
from pipeline.wire import Document, Page

Decoder = Callable[[bytes], object]

RUBBISH = (b"x", b"{}", b"\x00", b"\xff", b"]")
NO_MESSAGES = [
    b"",
    b"\n",
    b"null",
    b"[]x",
    b"\xff\xfe",
    b'{"type":"nobody"}',
    b'{"type":"\xff"}',
    b'F|scan/a|{"epoch":1}\n[]',
    b'A|{"type":"feedback","acks":[["\xff",1,"scan/a",1]]}',
    b'H|{"type":"beacon","shard":0,"shards":1,"hash":"\xff","boot":"b"}',
    b"[" * 30_000,
    b"A|" + b"[" * 30_000,
]
"""What no decoder may take, and none may fail on but with `MessageMalformed`."""

EVENTS = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3).map(encode_event), max_size=8
)
CHANNELS = st.sampled_from(["scan/a", "report/7", "scan/" + "x" * 64])


def strategy_of(kind: object) -> st.SearchStrategy[object]:
    """Any value of a field's type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(strategy_of, args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is list:
        return st.lists(strategy_of(args[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(strategy_of(args[0]), strategy_of(args[1]), max_size=4)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return st.lists(strategy_of(args[0]), max_size=4).map(tuple)
        return st.tuples(*map(strategy_of, args))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any_struct(kind)
    plain = {
        int: st.integers(0, 2**53 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(max_size=20),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[kind]  # type: ignore[index]


def any_struct(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{field.name: strategy_of(field.type) for field in fields})


def members(union: object) -> list[type[msgspec.Struct]]:
    return [kind for kind in typing.get_args(union) if kind not in (Page, Document)]


def check_truncated(decode: Decoder, message: bytes) -> None:
    """The whole is read, and cut at any byte it is refused."""
    assert decode(message)
    for length in range(len(message)):
        with pytest.raises(MessageMalformed):
            decode(message[:length])


def check_rubbish_behind(decode: Decoder, message: bytes) -> None:
    """Whatever follows is refused, but for white space."""
    for rubbish in (*RUBBISH, message):
        with pytest.raises(MessageMalformed):
            decode(message + rubbish)
    assert decode(message + b" ") == decode(message)


def check_bytes_replaced(decode: Decoder, message: bytes) -> None:
    for index in range(len(message)):
        for byte in (b"\xff", b"\x00", b'"', b"\\", b"9", b"[", b"\n"):
            check_understood_or_malformed(decode, message[:index] + byte + message[index + 1 :])


def check_understood_or_malformed(decode: Decoder, message: bytes) -> None:
    """Any error but the one that is promised fails the test."""
    with contextlib.suppress(MessageMalformed):
        decode(message)
