"""Who may read: the config section of accounts. Pure."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from pipeline.sections import is_loopback
from pipeline.tickets import MAX_TICKET_S
from pipeline.tokens import ALGORITHMS, MAX_LEEWAY_S

PUBLIC_ALGORITHMS = tuple(name for name in ALGORITHMS if name != "HS256")


class AccountsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Who may read. Without a key there are no accounts: whoever reaches the edge sees every scan."""

    secret_file: Annotated[
        str,
        msgspec.Meta(
            description="File with the secret that tokens are signed with (HS256), at least 32 bytes; white "
            "space around it does not count. Empty for none."
        ),
    ] = ""
    previous_secret_file: Annotated[
        str,
        msgspec.Meta(
            description="File with the secret before: what it has signed is accepted until it expires."
        ),
    ] = ""
    public_key_file: Annotated[
        str,
        msgspec.Meta(
            description="PEM file of the public key that tokens are verified with, instead of a secret. "
            "Needs the extra `jwks`. Empty for none."
        ),
    ] = ""
    jwks_url: Annotated[
        str,
        msgspec.Meta(
            description="Address of an identity provider's key set (RFC 7517), instead of a key in a file: "
            "https, or http on a loopback address. Needs the extra `jwks`. Empty for none."
        ),
    ] = ""
    jwks_refresh_s: Annotated[
        float,
        msgspec.Meta(
            ge=30,
            le=86_400,
            description="How often that set is fetched anew; also when a token names a key that is not in "
            "it. After twelve times in vain no token is accepted.",
            extra={"unit": "s"},
        ),
    ] = 300.0
    algorithm: Annotated[
        str,
        msgspec.Meta(
            description="The one algorithm that is accepted: HS256 with a secret; RS256, ES256 or EdDSA "
            "with a public key or a key set.",
        ),
    ] = "HS256"
    issuer: Annotated[
        str, msgspec.Meta(min_length=1, max_length=200, description="What `iss` of a token must be.")
    ] = "scanstream"
    audience: Annotated[
        str, msgspec.Meta(min_length=1, max_length=200, description="What `aud` of a token must be, or name.")
    ] = "scanstream"
    leeway_s: Annotated[
        float,
        msgspec.Meta(
            ge=0, le=MAX_LEEWAY_S, description="By how much clocks may differ.", extra={"unit": "s"}
        ),
    ] = 5.0
    revoked_file: Annotated[
        str,
        msgspec.Meta(
            description="File of what is not accepted any more, one a line: the `jti` of a token, or `sub:` "
            "and a subject. Read at the start and on SIGHUP. Empty for none."
        ),
    ] = ""
    query_token: Annotated[
        bool,
        msgspec.Meta(
            description="Also take a token from `?token=`, as HeroForge's frontend sends it. Addresses end "
            "up in logs and histories: leave it off unless that frontend is used."
        ),
    ] = False
    first_message_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=60,
            description="A WebSocket that brought no token may send it as its first message within this "
            "time; then it is closed with 4401.",
            extra={"unit": "s"},
        ),
    ] = 5.0

    ticket_s: Annotated[
        float,
        msgspec.Meta(
            ge=1,
            le=MAX_TICKET_S,
            description="How long a ticket for server-sent events can be used, once.",
            extra={"unit": "s"},
        ),
    ] = MAX_TICKET_S

    @property
    def on(self) -> bool:
        """Whether there are accounts."""
        return bool(self.secret_file or self.public_key_file or self.jwks_url)

    def problems(self) -> list[str]:
        """Return what is wrong between keys, one line each."""
        found = []
        sources = [name for name in ("secret_file", "public_key_file", "jwks_url") if getattr(self, name)]
        if len(sources) > 1:
            found.append(f"[accounts] {' and '.join(sources)}: only one of them may be set")
        if self.jwks_url and (problem := _url_problem(self.jwks_url)) is not None:
            found.append(f"[accounts] jwks_url = {self.jwks_url!r}: {problem}")
        if self.previous_secret_file and not self.secret_file:
            found.append("[accounts] previous_secret_file: needs secret_file, the one that is used now")
        allowed = PUBLIC_ALGORITHMS if self.public_key_file or self.jwks_url else ("HS256",)
        if self.algorithm not in allowed:
            with_what = sources[-1] if sources else "secret_file"
            found.append(
                f"[accounts] algorithm = {self.algorithm!r}: must be one of {', '.join(allowed)} with "
                f"{with_what}"
            )
        if not self.on:
            found += [
                f"[accounts] {name}: needs secret_file, public_key_file or jwks_url"
                for name in ("revoked_file", "query_token")
                if getattr(self, name)
            ]
        return found


class UsersSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one user, the `sub` of a token, may have and do on one edge. Of no use without [accounts]."""

    max_connections: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Streams of one user; a further one is closed with 4029.",
            extra={"unit": "connections"},
        ),
    ] = 1_000
    max_subscriptions: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Scans that all connections of one user to /ws/scans may be subscribed to; a further "
            "one is refused with an error.",
            extra={"unit": "scans"},
        ),
    ] = 5_000
    max_exports: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Files of scans and comparisons under way for one user; a further one gets 429 with "
            "Retry-After.",
            extra={"unit": "requests"},
        ),
    ] = 8
    requests_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Requests of one user, and streams it opens; faster than that, past request_burst, "
            "it gets 429 with Retry-After, and a WebSocket is closed with 4029.",
            extra={"unit": "requests/s"},
        ),
    ] = 200.0
    request_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Requests and streams of one user at once, as after a restart.",
            extra={"unit": "requests"},
        ),
    ] = 2_000
    posts_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Requests with events that one user may post; faster than that, past post_burst, it "
            "gets 429 with Retry-After.",
            extra={"unit": "requests/s"},
        ),
    ] = 200.0
    post_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Requests with events that one user may post at once.",
            extra={"unit": "requests"},
        ),
    ] = 1_000
    messages_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Messages that one user may send on all its WebSockets; faster than that, past "
            "message_burst, the one that sent the last is closed with 4029.",
            extra={"unit": "messages/s"},
        ),
    ] = 500.0
    message_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Messages that one user may send at once, as all pages do that come back and "
            "subscribe.",
            extra={"unit": "messages"},
        ),
    ] = 10_000


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "is no address"
    if parts.scheme == "https" and host and not parts.username:
        return None
    if parts.scheme == "http" and is_loopback(host) and not parts.username:
        return None
    return "must be https, or http on a loopback address, without a user in it"
