from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TokenProblem, TokenRejected
from pipeline.tokens import (
    EVERYBODY,
    MAX_SCANS,
    MAX_TOKEN_CHARS,
    MIN_SECRET_BYTES,
    Identity,
    Verifier,
    is_long_enough,
    mint,
)

SECRET = b"0123456789abcdef0123456789abcdef"
OTHER = b"fedcba9876543210fedcba9876543210"
NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {"sub": "ada", "iss": "house", "aud": "scanstream", "iat": NOW - 10, "exp": NOW + 60}


def verifier(*keys: Any, algorithm: str = "HS256", **more: Any) -> Verifier:
    return Verifier(algorithm, lambda _kid: keys or (SECRET,), "house", "scanstream", **more)


def token(**changes: Any) -> str:
    return mint(SECRET, "HS256", {name: v for name, v in {**CLAIMS, **changes}.items() if v is not None})


def refused(given: str, checker: Verifier | None = None, now_s: float = NOW) -> TokenProblem:
    with pytest.raises(TokenRejected) as caught:
        (checker or verifier()).verify(given, now_s)
    assert len(given) < 20 or given not in str(caught.value)
    return caught.value.problem


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(header: object, claims: object, secret: bytes = SECRET) -> str:
    text = f"{part(header)}.{part(claims)}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_a_good_token_says_who_it_is_of() -> None:
    given = token(role="admin", scans=["lab-*"], jti="t1")
    assert verifier().verify(given, NOW) == Identity("ada", True, ("lab-*",), NOW + 60, "t1")
    assert verifier().verify(token(), NOW) == Identity("ada", False, (), NOW + 60, "")
    assert verifier().verify(token(aud=["a", "scanstream"]), NOW).subject == "ada"


def test_one_that_this_house_did_not_sign_itself_is_read_too() -> None:
    assert verifier().verify(signed({"alg": "HS256", "typ": "JWT"}, CLAIMS), NOW).subject == "ada"


@pytest.mark.parametrize("missing", ["sub", "iss", "aud", "iat", "exp"])
def test_each_claim_is_needed(missing: str) -> None:
    assert refused(token(**{missing: None})) is TokenProblem.CLAIMS


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": ""}, {"sub": 7}, {"sub": "x" * 201}, {"exp": "soon"}, {"exp": True}, {"iat": [1]},
        {"aud": 7}, {"aud": [7]}, {"scans": "lab-*"}, {"scans": [7]}, {"scans": ["a"] * (MAX_SCANS + 1)},
        {"scans": [""]}, {"role": 7}, {"jti": 7}, {"nbf": "now"},
    ],
    ids=str,
)  # fmt: skip
def test_a_claim_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    assert refused(signed({"alg": "HS256"}, {**CLAIMS, **changes})) is TokenProblem.CLAIMS


def test_times_that_are_no_numbers_are_refused() -> None:
    for text in ("NaN", "Infinity", "1e999"):
        body = json.dumps(CLAIMS).replace(json.dumps(CLAIMS["exp"]), text)
        payload = base64.urlsafe_b64encode(body.encode()).rstrip(b"=").decode()
        text = f"{part({'alg': 'HS256'})}.{payload}"
        mac = hmac.new(SECRET, text.encode(), hashlib.sha256).digest()
        given = f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert refused(given) in {TokenProblem.CLAIMS, TokenProblem.MALFORMED}


def test_of_others_or_for_others() -> None:
    assert refused(token(iss="elsewhere")) is TokenProblem.ISSUER
    assert refused(token(aud="elsewhere")) is TokenProblem.AUDIENCE
    assert refused(token(aud=["elsewhere"])) is TokenProblem.AUDIENCE


@pytest.mark.parametrize(
    ("now_s", "leeway_s", "problem"),
    [
        (NOW + 59.9, 0, None),
        (NOW + 60, 0, TokenProblem.EXPIRED),
        (NOW + 69.9, 10, None),
        (NOW + 70, 10, TokenProblem.EXPIRED),
        (NOW - 10, 0, None),
        (NOW - 10.1, 0, TokenProblem.NOT_YET),
        (NOW - 20, 10, None),
        (NOW - 20.1, 10, TokenProblem.NOT_YET),
    ],
)
def test_when_it_holds(now_s: float, leeway_s: float, problem: TokenProblem | None) -> None:
    checker = verifier(leeway_s=leeway_s)
    if problem is None:
        assert checker.verify(token(), now_s).subject == "ada"
    else:
        assert refused(token(), checker, now_s) is problem


def test_not_before_is_heeded() -> None:
    assert refused(token(nbf=NOW + 5)) is TokenProblem.NOT_YET
    assert verifier().verify(token(nbf=NOW - 5), NOW).subject == "ada"


def test_only_the_pinned_algorithm_counts() -> None:
    assert refused(f"{part({'alg': 'none'})}.{part(CLAIMS)}.") is TokenProblem.ALGORITHM
    assert refused(signed({"alg": "none"}, CLAIMS)) is TokenProblem.ALGORITHM
    assert refused(mint(SECRET + OTHER, "HS384", CLAIMS)) is TokenProblem.ALGORITHM


def test_a_public_key_is_no_secret() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert refused(signed({"alg": "HS256"}, CLAIMS, pem), verifier(public, algorithm="RS256")) is (
        TokenProblem.ALGORITHM
    )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_public_keys(algorithm: str) -> None:
    private = private_key(algorithm)
    given = mint(private, algorithm, CLAIMS, key_id="one")
    checker = verifier(private.public_key(), algorithm=algorithm)
    assert checker.verify(given, NOW).subject == "ada"
    assert refused(given, verifier(private_key(algorithm).public_key(), algorithm=algorithm)) is (
        TokenProblem.SIGNATURE
    )


def private_key(algorithm: str) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else (ed25519.Ed25519PrivateKey.generate())
    )


def test_the_keys_are_asked_for_by_the_id_in_the_token() -> None:
    asked: list[str | None] = []

    def keys(key_id: str | None) -> list[bytes]:
        asked.append(key_id)
        return [SECRET] if key_id == "new" else []

    checker = Verifier("HS256", keys, "house", "scanstream")
    assert checker.verify(mint(SECRET, "HS256", CLAIMS, key_id="new"), NOW).subject == "ada"
    assert refused(mint(SECRET, "HS256", CLAIMS), checker) is TokenProblem.SIGNATURE
    assert asked == ["new", None]


def test_the_previous_secret_is_accepted_too() -> None:
    assert verifier(OTHER, SECRET).verify(token(), NOW).subject == "ada"
    assert refused(token(), verifier(OTHER)) is TokenProblem.SIGNATURE


def test_what_is_revoked_is_refused() -> None:
    revoked = frozenset({"t1", "sub:eve"})
    assert refused(token(jti="t1"), verifier(revoked=revoked)) is TokenProblem.REVOKED
    assert refused(token(sub="eve"), verifier(revoked=revoked)) is TokenProblem.REVOKED
    assert verifier(revoked=revoked).verify(token(jti="t2"), NOW).subject == "ada"
    assert verifier(revoked=revoked).verify(token(), NOW).subject == "ada"


def test_critical_headers_and_floods_are_refused() -> None:
    assert refused(signed({"alg": "HS256", "crit": ["x"], "x": 1}, CLAIMS)) is TokenProblem.MALFORMED
    assert refused("a" * (MAX_TOKEN_CHARS + 1)) is TokenProblem.MALFORMED


def test_truncated_at_every_character() -> None:
    whole = token()
    for length in range(len(whole)):
        refused(whole[:length])


@given(st.text(max_size=200))
def test_rubbish_is_refused(text: str) -> None:
    refused(text)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_rubbish_in_its_parts_is_refused(header: bytes, claims: bytes) -> None:
    parts = [base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (header, claims)]
    refused(f"{parts[0]}.{parts[1]}.AAAA")
    refused(f"{part({'alg': 'HS256'})}.{parts[1]}.AAAA")


@pytest.mark.parametrize(
    ("identity", "seen"),
    [
        (Identity("ada"), True),
        (Identity("bob"), True),
        (Identity("eve"), False),
        (Identity("eve", admin=True), True),
        (Identity("eve", scans=("lab-*",)), True),
        (Identity("eve", scans=("LAB-*", "other", "lab-1?")), False),
        (EVERYBODY, True),
    ],
)
def test_who_may_see_a_scan(identity: Identity, seen: bool) -> None:
    assert identity.may_see("lab-1", "ada", ["bob"]) is seen


def test_a_scan_of_nobody_is_not_everybodys() -> None:
    assert not Identity("ada").may_see("lab-1", "")
    assert not Identity("ada").may_delete("")


def test_only_its_owner_and_an_admin_delete_a_scan() -> None:
    assert Identity("ada").may_delete("ada")
    assert Identity("eve", admin=True).may_delete("ada")
    assert not Identity("eve", scans=("*",)).may_delete("ada")


def test_a_secret_has_its_least_length() -> None:
    assert is_long_enough(b"x" * MIN_SECRET_BYTES)
    assert not is_long_enough(b"x" * (MIN_SECRET_BYTES - 1))
