"""What a reader with a token decides: when it asks for the next one, and whether it comes back. Pure.

Used by `subscription`. `edge/static/scanstream_token_rules.js` holds the same rules for browsers; one file of
test vectors holds both to them.

================================================ ===========================================
what                                             then
================================================ ===========================================
30 s before a token expires; of a short one,     the next one is asked for, and sent
half of what is left before
less than a second is left                       nothing: the edge will say so
refused, and there is no other token to be had   the end
refused, the first time or since a hello         back, with another token
refused again before there was a hello           the end
================================================ ===========================================
"""

from __future__ import annotations

import base64
import json
import math
import re

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_TOKEN_CHARS = 8_192
_AHEAD_S = 30.0
_LEAST_LEFT_S = 1.0
_MOST_S = 86_400.0


def is_token_text(value: object) -> bool:
    """Say whether something has the form of a token: three parts of base64url (RFC 7515, 7.1)."""
    return isinstance(value, str) and len(value) <= _MAX_TOKEN_CHARS and _TOKEN.fullmatch(value) is not None


def token_expiry(token: str) -> float | None:
    """Return when a token says that it expires, unverified, in epoch seconds; None when it does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expiry = claims["exp"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        return None
    try:
        return float(expiry) if math.isfinite(expiry) else None
    except OverflowError:
        return None


def refresh_delay_s(left_s: float) -> float | None:
    """Return how long to wait before the next token is asked for, in seconds: a day at most.

    Args:
        left_s: how long the present one lasts.

    Returns:
        None when it is not worth it any more.
    """
    if left_s < _LEAST_LEFT_S:
        return None
    return min(max(left_s - _AHEAD_S, left_s / 2), _MOST_S)


class TokenTries:
    """Args:
    renewable: another token can be asked for.
    """

    __slots__ = ("_is_refused", "_renewable")

    def __init__(self, *, renewable: bool) -> None:
        self._renewable = renewable
        self._is_refused = False

    def accepted(self) -> None:
        """Take notice that the edge has said hello."""
        self._is_refused = False

    def refused(self) -> bool:
        """Return whether to come back, with another token."""
        comes_back = self._renewable and not self._is_refused
        self._is_refused = True
        return comes_back
