"""Compressed messages: what is agreed on, and that another implementation reads them."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from pipeline.edge.deflate import Agreement, Deflate, agree

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
