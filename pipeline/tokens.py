"""Who somebody is, as a signed token says: JSON Web Tokens (RFC 7519), verified and minted. Pure.

The edge verifies what browsers bring; `pipeline token` mints and checks. What a token may see is
asked of its `Identity`. Knows no clock, no file and no network: the keys and the time are given.

One algorithm is pinned by the configuration. A token that names another one is refused before any key is
touched, so that neither `none` nor a public key taken for a secret gets in (RFC 8725, 3.1).

======================================== =============================================
a token                                  is refused as
======================================== =============================================
is longer than `MAX_TOKEN_CHARS`, or no  `malformed`
token, or has a `crit` header
names another algorithm                  `algorithm`
fits none of the keys                    `signature`
lacks `exp`, `iat`, `sub`, `aud`, `iss`  `claims`
or has one, or `scans`, `role`, `jti`,
of another kind than it should be
is of another issuer, for others         `issuer`, `audience`
is over, or not valid yet                `expired`, `not_yet`
has a revoked `jti`, or `sub`            `revoked`
is not there at all                      `missing`, by who looks for it
======================================== =============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import jwt

from pipeline.errors import TokenProblem, TokenRejected

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MIN_SECRET_BYTES = 32
"""As long as the hash that HS256 uses (RFC 7518, 3.2)."""
MAX_TOKEN_CHARS = 8_192
MAX_SUBJECT_CHARS = 200
MAX_SCANS = 100
"""Patterns in a `scans` claim."""
MAX_LEEWAY_S = 30.0

ADMIN = "admin"
"""The `role` that may see and do everything."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, and what may be seen.

    Attributes:
        subject: `sub`, a user or a program.
        admin: may see and do everything.
        scans: patterns of scan ids that may be seen, whoever owns them; `*` and `?` as in file names.
        expires_at: when this ends, epoch seconds; infinite where there are no accounts.
        token_id: `jti`; empty when the token has none.
    """

    subject: str
    admin: bool = False
    scans: tuple[str, ...] = ()
    expires_at: float = math.inf
    token_id: str = ""

    def may_see(self, scan_id: str, owner: str, readers: Collection[str] = ()) -> bool:
        """Say whether a scan may be seen.

        Args:
            scan_id: its id.
            owner: the subject it belongs to; empty when nobody said.
            readers: subjects it is shared with.
        """
        return (
            self.admin
            or (owner != "" and owner == self.subject)
            or self.subject in readers
            or any(fnmatchcase(scan_id, pattern) for pattern in self.scans)
        )

    def may_delete(self, owner: str) -> bool:
        """Say whether a scan of that owner may be deleted; who only reads it may not."""
        return self.admin or (owner != "" and owner == self.subject)


EVERYBODY = Identity("", admin=True)
"""Who asks where there are no accounts."""

Keys = Callable[[str | None], Sequence[Any]]
"""Given a token's `kid`, or None: the keys that may have signed it, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Attributes:
    algorithm: one of `ALGORITHMS`.
    keys: gives the keys to try.
    issuer: what `iss` must be.
    audience: what `aud` must be, or have among others.
    leeway_s: by how many seconds clocks may differ; at most `MAX_LEEWAY_S`.
    revoked: ids of tokens that are not accepted any more, and subjects as `sub:NAME`.
    """

    algorithm: str
    keys: Keys
    issuer: str
    audience: str
    leeway_s: float = 0.0
    revoked: Collection[str] = field(default=frozenset())

    def verify(self, token: str, now_s: float) -> Identity:
        """Return who a token is of.

        Args:
            token: as it came.
            now_s: wall clock, epoch seconds.

        Raises:
            TokenRejected: it is not accepted.
        """
        claims = self._signed_claims(token)
        subject = _text(claims, "sub", MAX_SUBJECT_CHARS)
        issuer = _text(claims, "iss", MAX_TOKEN_CHARS)
        expires_at, issued_at = _time(claims, "exp"), _time(claims, "iat")
        begins_at = _time(claims, "nbf") if "nbf" in claims else issued_at
        if issuer != self.issuer:
            raise TokenRejected(TokenProblem.ISSUER, f"iss {issuer[:80]!r} is not {self.issuer!r}")
        if self.audience not in _audiences(claims):
            raise TokenRejected(TokenProblem.AUDIENCE, f"aud is not for {self.audience!r}")
        if now_s >= expires_at + self.leeway_s:
            raise TokenRejected(TokenProblem.EXPIRED, f"expired {now_s - expires_at:.0f} s ago")
        if now_s < max(issued_at, begins_at) - self.leeway_s:
            raise TokenRejected(TokenProblem.NOT_YET, "iat or nbf is in the future")
        token_id = _text(claims, "jti", MAX_SUBJECT_CHARS) if "jti" in claims else ""
        if f"sub:{subject}" in self.revoked or (token_id and token_id in self.revoked):
            raise TokenRejected(TokenProblem.REVOKED, "revoked")
        role = _text(claims, "role", MAX_SUBJECT_CHARS) if "role" in claims else ""
        return Identity(subject, role == ADMIN, _patterns(claims), expires_at, token_id)

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenRejected(
                TokenProblem.MALFORMED, f"{len(token)} characters; at most {MAX_TOKEN_CHARS} are read"
            )
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise TokenRejected(TokenProblem.MALFORMED, "no token") from None
        if header.get("alg") != self.algorithm:
            raise TokenRejected(TokenProblem.ALGORITHM, f"alg is not {self.algorithm}")
        if "crit" in header:
            raise TokenRejected(TokenProblem.MALFORMED, "crit is not supported")
        for key in self.keys(header.get("kid")):
            try:
                claims: dict[str, Any] = jwt.decode(token, key, [self.algorithm], options=_ONLY_SIGNATURE)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, TypeError, ValueError):
                raise TokenRejected(TokenProblem.MALFORMED, "no token") from None
            return claims
        raise TokenRejected(TokenProblem.SIGNATURE, "signed by none of the keys")


_ONLY_SIGNATURE: Any = {
    "verify_signature": True,
    # The rest is checked here: against the time given, and to the letter.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


def mint(
    key: Any,
    algorithm: str,
    claims: Mapping[str, object],
    *,
    key_id: str | None = None,
) -> str:
    """Return a signed token.

    Args:
        key: the secret, or the private key.
        algorithm: one of `ALGORITHMS`.
        claims: what it says; `Verifier.verify` tells what is needed.
        key_id: names the key, where there are several.
    """
    return jwt.encode(
        dict(claims), key, algorithm=algorithm, headers={"kid": key_id} if key_id is not None else None
    )


def is_long_enough(secret: bytes) -> bool:
    """Say whether a secret can be used for HS256."""
    return len(secret) >= MIN_SECRET_BYTES


def _text(claims: Mapping[str, Any], name: str, most: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise TokenRejected(TokenProblem.CLAIMS, f"{name} must be a text of 1 to {most} characters")
    return value


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRejected(TokenProblem.CLAIMS, f"{name} must be epoch seconds")
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    value = claims.get("aud")
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list) or not all(isinstance(one, str) for one in many):
        raise TokenRejected(TokenProblem.CLAIMS, "aud must be a text, or a list of them")
    return many


def _patterns(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = claims.get("scans", [])
    if (
        not isinstance(value, list)
        or len(value) > MAX_SCANS
        or not all(isinstance(one, str) and 0 < len(one) <= MAX_SUBJECT_CHARS for one in value)
    ):
        raise TokenRejected(TokenProblem.CLAIMS, f"scans must be a list of at most {MAX_SCANS} patterns")
    return tuple(value)
