"""Compressed messages: what is agreed on, and that another implementation reads them."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from pipeline.edge.deflate import Agreement, Context, Contexts, Deflate, agree

TEXT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"},' * 400
BASE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("", None),
        ("x-webkit-deflate-frame", None),
        ("permessage-deflate", Agreement(15, BASE)),
        ("permessage-deflate; client_max_window_bits", Agreement(15, BASE)),
        ("permessage-deflate; client_max_window_bits=8", Agreement(15, BASE)),
        ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", Agreement(15, BASE)),
        ("permessage-deflate; server_max_window_bits=9", Agreement(9, f"{BASE}; server_max_window_bits=9")),
        (
            'permessage-deflate; server_max_window_bits="12"',
            Agreement(12, f"{BASE}; server_max_window_bits=12"),
        ),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Agreement(15, BASE)),
        ("foo; bar=1, permessage-deflate", Agreement(15, BASE)),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-deflate;", None),
        (",;,=;\"", None),
    ],
)  # fmt: skip
def test_what_is_agreed(offers: str, agreed: Agreement | None) -> None:
    assert agree(offers) == agreed


@given(st.text(alphabet='permessage-deflate;=, "0159_', max_size=80))
def test_rubbish_is_no_agreement_or_one_that_can_be_kept(offers: str) -> None:
    agreed = agree(offers)
    assert agreed is None or 9 <= agreed.window_bits <= 15


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_another_implementation_reads_each_message_whatever_came_before(window_bits: int) -> None:
    deflate = Deflate(window_bits, 1, 0)
    reader = PerMessageDeflate(
        remote_no_context_takeover=False,  # it keeps its window, and must not be misled by it
        local_no_context_takeover=True,
        remote_max_window_bits=window_bits,
        local_max_window_bits=15,
    )
    noise = random.Random(7).randbytes(50_000)
    texts = (TEXT, noise.hex().encode(), TEXT)
    for text in texts:
        packed = deflate.compress(text)
        assert packed is not None
        frame = reader.decode(Frame(Opcode.TEXT, packed, rsv1=True))
        assert frame.data == text


def test_a_window_is_kept_to() -> None:
    noise = random.Random(7).randbytes(1_000)
    packed = Deflate(9, 9, 0).compress((noise + b"a" * 5_000) * 2)
    assert packed is not None
    reader = zlib.decompressobj(-9)
    assert reader.decompress(packed + b"\x00\x00\xff\xff") == (noise + b"a" * 5_000) * 2


def test_what_is_small_or_would_grow_goes_as_it_is() -> None:
    deflate = Deflate(15, 1, 512)
    assert deflate.compress(b"a" * 511) is None
    assert deflate.compress(b"a" * 512) is not None
    assert deflate.compress(random.Random(7).randbytes(600)) is None


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("permessage-deflate", Agreement(15, "permessage-deflate; client_no_context_takeover", True)),
        (
            "permessage-deflate; server_max_window_bits=9",
            Agreement(9, "permessage-deflate; client_no_context_takeover; server_max_window_bits=9", True),
        ),
        ("permessage-deflate; server_no_context_takeover", Agreement(15, BASE)),
    ],
)
def test_a_window_is_kept_unless_the_reader_will_not(offers: str, agreed: Agreement) -> None:
    assert agree(offers, keep=True) == agreed


def texts() -> list[bytes]:
    """Return messages that have much in common with each other, and nothing in themselves."""
    common = random.Random(3).randbytes(90).hex().encode()
    return [b"%d %s" % (number, common) for number in range(20)]


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_messages_in_one_window_refer_to_each_other_until_it_begins_anew(window_bits: int) -> None:
    context = Context(Deflate(window_bits, 1, 100))
    early, late = zlib.decompressobj(-window_bits), zlib.decompressobj(-window_bits)
    alone = 0
    kept = 0
    for number, text in enumerate(texts()):
        if number == 10:
            context.forget()
        packed = context.compress(text)
        assert packed is not None
        assert early.decompress(packed + b"\x00\x00\xff\xff") == text
        if number >= 10:
            assert late.decompress(packed + b"\x00\x00\xff\xff") == text
        kept += len(packed)
        alone += len(Deflate(window_bits, 1, 100).compress(text) or text)
    assert kept < alone


def test_what_goes_as_it_is_is_in_no_window() -> None:
    context, reader = Context(Deflate(15, 1, 10)), zlib.decompressobj(-15)
    noise = random.Random(1).randbytes(1_000)
    assert context.compress(b"small") is None
    for text in (TEXT, TEXT):
        packed = context.compress(text)
        assert packed is not None
        assert reader.decompress(packed + b"\x00\x00\xff\xff") == text
    assert context.compress(noise) is None
    packed = context.compress(noise + TEXT)
    assert packed is not None
    assert reader.decompress(packed + b"\x00\x00\xff\xff") == noise + TEXT


def test_there_are_only_so_many_windows() -> None:
    contexts, deflate = Contexts(2), Deflate(15, 1, 0)
    held = [contexts.open(deflate), contexts.open(deflate)]
    assert None not in held
    assert contexts.open(deflate) is None
    held.pop()
    assert contexts.open(deflate) is not None
    contexts.most = 0
    assert contexts.open(deflate) is None


def test_what_cannot_be_compressed_leaves_no_window_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(Deflate(15, 1, 0))
    assert context.compress(TEXT) is not None

    def fails(_compressor: object, _payload: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.edge.deflate._packed", fails)
        with pytest.raises(MemoryError):
            context.compress(TEXT)
    packed = context.compress(TEXT)
    assert packed is not None
    assert zlib.decompressobj(-15).decompress(packed + b"\x00\x00\xff\xff") == TEXT
