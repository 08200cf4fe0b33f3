"""Signs messages as Standard Webhooks 1.0 says: id, time and body, by HMAC-SHA256. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

A secret is 24 to 64 bytes, in base64, with or without `whsec_` before it. A hook may have several: each
signs, so that a receiver may know the old one or the new one while it is changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
MAX_SECRETS = 4

Secrets = dict[str, tuple[bytes, ...]]
"""Hook -> what its messages are signed with."""


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Read the secrets of a hook, one after the other, with white space between them.

    Raises:
        ValueError: there is none, or too many, or one is no secret; it is not shown.
    """
    words = text.split()
    if not 1 <= len(words) <= MAX_SECRETS:
        raise ValueError(f"holds {len(words)} secrets; 1 to {MAX_SECRETS} are possible")
    return tuple(_secret(word) for word in words)


def _secret(word: str) -> bytes:
    try:
        key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is no secret: {PREFIX} and base64") from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"a secret is {len(key)} bytes; {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} are possible"
        )
    return key


def signed_headers(secrets: Sequence[bytes], message_id: str, sent_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of an attempt to deliver a message.

    Args:
        secrets: of the hook.
        message_id: the same at every attempt; no `.` in it.
        sent_s: when it is sent, epoch seconds.
        body: exactly what is sent.
    """
    content = b"".join((message_id.encode(), b".", str(sent_s).encode(), b".", body))
    signatures = [
        "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_s),
        "webhook-signature": " ".join(signatures),
    }
