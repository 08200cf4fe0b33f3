"""When a reader asks for its next token, and whether it comes back: the vectors both clients are held to."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.renewal import TokenTries, is_token_text, refresh_delay_s, token_expiry
from pipeline.tokens import MAX_TOKEN_CHARS, mint
from tests.client.rules import RULES


@pytest.mark.parametrize("case", RULES["token"], ids=str)
def test_what_is_a_token_and_when_it_expires(case: dict[str, Any]) -> None:
    assert is_token_text(case["text"]) is case["valid"]
    assert token_expiry(case["text"]) == case["exp"]


def test_a_token_that_was_minted_is_one() -> None:
    token = mint(b"s" * 32, "HS256", {"sub": "a", "exp": 1_700_000_000.25})
    assert is_token_text(token)
    assert token_expiry(token) == 1_700_000_000.25


def test_what_is_longer_than_the_edge_reads_is_none() -> None:
    assert is_token_text(f"a.{'b' * (MAX_TOKEN_CHARS - 4)}.c")
    assert not is_token_text(f"a.{'b' * (MAX_TOKEN_CHARS - 3)}.c")
    assert not is_token_text(None)


@pytest.mark.parametrize("case", RULES["refresh"], ids=str)
def test_when_the_next_one_is_asked_for(case: dict[str, Any]) -> None:
    assert refresh_delay_s(case["left_s"]) == case["delay_s"]


@pytest.mark.parametrize("case", RULES["tries"], ids=lambda case: case["name"])
def test_who_is_refused_comes_back_once(case: dict[str, Any]) -> None:
    tries = TokenTries(renewable=case["renewable"])
    for step in case["steps"]:
        if step["do"] == "accepted":
            tries.accepted()
        else:
            assert tries.refused() is (step["verdict"] == "again")
