from __future__ import annotations

import pytest

from pipeline.edge.accounts_section import AccountsSection


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, False),
        ({"secret_file": "s"}, True),
        ({"public_key_file": "k", "algorithm": "ES256"}, True),
        ({"jwks_url": "https://id.example.org/keys", "algorithm": "RS256"}, True),
        ({"jwks_url": "http://127.0.0.1:9/keys", "algorithm": "EdDSA"}, True),
    ],
)
def test_a_key_makes_accounts(given: dict[str, str], on: bool) -> None:
    section = AccountsSection(**given)  # type: ignore[arg-type]  # texts all
    assert section.on is on
    assert section.problems() == []


def test_every_contradiction_is_told_at_once() -> None:
    section = AccountsSection(
        secret_file="s", public_key_file="k", previous_secret_file="p", algorithm="HS256"
    )
    assert section.problems() == [
        "[accounts] secret_file and public_key_file: only one of them may be set",
        "[accounts] algorithm = 'HS256': must be one of RS256, ES256, EdDSA with public_key_file",
    ]
    assert AccountsSection(secret_file="s", algorithm="none").problems() == [
        "[accounts] algorithm = 'none': must be one of HS256 with secret_file"
    ]
    assert AccountsSection(previous_secret_file="p", revoked_file="r", query_token=True).problems() == [
        "[accounts] previous_secret_file: needs secret_file, the one that is used now",
        "[accounts] revoked_file: needs secret_file, public_key_file or jwks_url",
        "[accounts] query_token: needs secret_file, public_key_file or jwks_url",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.org/keys",
        "file:///etc/keys",
        "https://",
        "https://u:p@id.example.org/",
        "[",
        "ftp://a/",
    ],
)
def test_keys_come_from_where_nobody_can_change_them_on_the_way(url: str) -> None:
    [problem] = AccountsSection(jwks_url=url, algorithm="RS256").problems()
    assert problem.startswith(f"[accounts] jwks_url = {url!r}: ")
