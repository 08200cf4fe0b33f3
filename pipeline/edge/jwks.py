"""The public keys of an identity provider: fetched from its address, kept, and fetched again. Shell.

Only `accounts.jwks_url` is ever asked, whatever a token says. The loop never waits for it: it is asked in
another thread. While there are no keys, or they are too old, no token is accepted.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jwt

from pipeline.log import Log

FETCH_TIMEOUT_S = 10.0
MAX_SET_BYTES = 1_048_576
MAX_KEYS = 100
LEAST_PAUSE_S = 2.0
"""So long is waited at least between two questions, whatever tokens come."""
MAX_TRIED = 10
"""Keys tried for one token, so that a forged one does not cost a hundred signatures."""
MOST_REFRESHES_MISSED = 12
"""Keys that could not be fetched again so many times are not trusted any more."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        """Follow nothing: the keys are where the configuration says, or nowhere."""


class KeySet:
    """Args:
    url: where the set is.
    algorithm: which keys of it count.
    refresh_s: how often it is fetched anew.
    log: told when it cannot be had.
    counters: where fetches are counted.
    """

    def __init__(self, url: str, algorithm: str, refresh_s: float, log: Log, counters: Counter[str]) -> None:
        self._url = url
        self._algorithm = algorithm
        self._refresh_s = refresh_s
        self._log = log
        self._counters = counters
        self._keys: list[tuple[str | None, Any]] = []
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch; call once the loop runs."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Fetch no more."""
        if self._running is not None:
            self._running.cancel()

    def keys(self, key_id: str | None) -> Sequence[Any]:
        """Return the keys that may have signed a token; one that is not known has the set fetched again.

        Args:
            key_id: as the token names it; None when it does not.
        """
        if time.monotonic() - self._fetched_at > MOST_REFRESHES_MISSED * self._refresh_s:
            self._keys = []
        if not self._keys or (key_id is not None and all(name != key_id for name, _ in self._keys)):
            self._wanted.set()
        return candidates(self._keys, key_id)

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            self._asked_at = time.monotonic()
            try:
                self._keys = await asyncio.to_thread(self._fetch)
                self._fetched_at = time.monotonic()
                self._counters["key_sets{result=fetched}"] += 1
            except Exception as error:  # noqa: BLE001  # whatever a server answers: it is asked again
                self._counters["key_sets{result=failed}"] += 1
                self._log.error("keys cannot be fetched", problem=error, keys=len(self._keys))
            await asyncio.sleep(LEAST_PAUSE_S)
            left_s = self._asked_at + self._refresh_s - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    def _fetch(self) -> list[tuple[str | None, Any]]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
        with opener.open(self._url, timeout=FETCH_TIMEOUT_S) as answer:
            content = answer.read(MAX_SET_BYTES + 1)
        if len(content) > MAX_SET_BYTES:
            raise ValueError(f"a key set of more than {MAX_SET_BYTES} bytes")
        return usable_keys(json.loads(content), self._algorithm)


def candidates(keys: Sequence[tuple[str | None, Any]], key_id: str | None) -> list[Any]:
    """Return which keys of a set to try for a token, `MAX_TRIED` at most.

    A set need not name its keys, and a token's `kid` is a hint (RFC 7517, 4.5; RFC 7515, 4.1.4): keys of that
    name alone where there are any, else those without a name. A key of another name is never tried.

    Args:
        keys: (id, key) of each.
        key_id: as the token names it; None when it names none: then any may have signed it.
    """
    if key_id is None:
        return [key for _, key in keys][:MAX_TRIED]
    named = [key for name, key in keys if name == key_id]
    return (named or [key for name, key in keys if name is None])[:MAX_TRIED]


def usable_keys(document: object, algorithm: str) -> list[tuple[str | None, Any]]:
    """Return the keys of a set (RFC 7517) that can have signed a token.

    Args:
        document: the set, decoded.
        algorithm: the one that is accepted.

    Returns:
        (its id, the key) of each that is public, for signatures, and for this algorithm.

    Raises:
        ValueError: it is no key set, or has more than `MAX_KEYS`.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no key set: an object with `keys` is needed")
    if len(entries) > MAX_KEYS:
        raise ValueError(f"a key set of {len(entries)} keys; at most {MAX_KEYS} are read")
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or not _is_for(entry, algorithm):
            continue
        public = {name: value for name, value in entry.items() if name not in _PRIVATE}
        try:
            key = jwt.PyJWK(public, algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue  # one that is not understood does not spoil the others
        if getattr(key, "key_size", 2_048) >= 2_048 or algorithm != "RS256":
            key_id = entry.get("kid")
            found.append((key_id if isinstance(key_id, str) else None, key))
    return found


_KINDS = {
    "RS256": {"kty": "RSA"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def _is_for(entry: dict[str, Any], algorithm: str) -> bool:
    return (
        all(entry.get(name) == value for name, value in _KINDS[algorithm].items())
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", algorithm) == algorithm
    )
