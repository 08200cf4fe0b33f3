"""How an edge is reached, and how it lets go: the config sections of its HTTP side. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

import msgspec

from pipeline.sections import is_loopback

_ORIGIN = re.compile(r"(https?)://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_OWN_PORT = {"http": "80", "https": "443"}


class HttpSection(msgspec.Struct, frozen=True, kw_only=True):
    """Where browsers find the edge."""

    address: Annotated[
        str,
        msgspec.Meta(
            description="The address to listen on. Without [accounts] it must be a loopback address."
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, msgspec.Meta(ge=0, le=65_535, description="The port to listen on; 0 takes any free one.")
    ] = 8800
    share_port: Annotated[
        bool,
        msgspec.Meta(
            description="Listen with SO_REUSEPORT, so that several edges serve one port and the kernel "
            "spreads the connections."
        ),
    ] = False
    certificate: Annotated[
        str,
        msgspec.Meta(
            description="PEM file of the certificate and its chain: https and wss instead of http and ws. "
            "Empty for none."
        ),
    ] = ""
    key: Annotated[
        str, msgspec.Meta(description="PEM file of the certificate's private key, without a pass phrase.")
    ] = ""
    base_path: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^/([A-Za-z0-9._~-]+/)*$",
            description="The path everything is below, for a proxy that passes it on; it ends with a slash.",
        ),
    ] = "/"
    hosts: Annotated[
        list[str],
        msgspec.Meta(
            max_length=64,
            description="Host names, without port, under which the edge may be asked for besides loopback "
            "names. A forwarded request must name one of them.",
            examples=[["scans.example.org"]],
        ),
    ] = []
    trusted_proxies: Annotated[
        list[str],
        msgspec.Meta(
            max_length=64,
            description="Addresses or networks of proxies whose forwarded headers are believed; from anybody "
            "else they are refused. Without [accounts] whoever the proxy lets through sees every scan.",
            examples=[["127.0.0.1", "::1"]],
        ),
    ] = []

    origins: Annotated[
        list[str],
        msgspec.Meta(
            max_length=64,
            description="Origins of other sites whose pages may do what the edge's own page may, each "
            "exactly as browsers send it. Without [accounts] they see every scan.",
            examples=[["https://app.example.org"]],
        ),
    ] = []

    def problems(self, *, accounts: bool) -> list[str]:
        """Return what is wrong between keys, one line each.

        Args:
            accounts: whether there are accounts.
        """
        found = [
            f"[http] origins: {text!r} is no origin: it must be http://HOST or https://HOST, with :PORT "
            f"where that is not the scheme's own, in small letters and without a path"
            for text in self.origins
            if not _is_origin(text)
        ]
        if not is_loopback(self.address) and not accounts:
            found.append(
                f"[http] address = {self.address!r}: must be a loopback address (127.0.0.1, ::1 or "
                f"localhost) where there are no accounts, or anybody who can reach it could watch every "
                f"scan: set [accounts] secret_file or public_key_file"
            )
        elif not is_loopback(self.address) and not self.hosts:
            found.append(
                f"[http] address = {self.address!r}: needs hosts, the names browsers ask for; without one "
                f"every request from elsewhere is refused"
            )
        if bool(self.certificate) != bool(self.key):
            missing = "key" if self.certificate else "certificate"
            found.append(f"[http] {missing}: is missing; certificate and key belong together")
        for text in self.trusted_proxies:
            try:
                networks([text])
            except ValueError as error:
                found.append(f"[http] trusted_proxies: {text!r} is no address or network: {error}")
        if self.trusted_proxies and not self.hosts:
            found.append(
                "[http] trusted_proxies: needs hosts, the names browsers ask for; without one every "
                "forwarded request is refused"
            )
        return found


class RequestsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks too fast, and who does not finish asking."""

    header_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="A new connection whose first request is not there, headers and TLS handshake "
            "included, after so long is closed.",
            extra={"unit": "s"},
        ),
    ] = 10.0
    body_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="A request whose body is not there after so long is cut off.",
            extra={"unit": "s"},
        ),
    ] = 30.0
    idle_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="A connection that waits so long for its next request is closed.",
            extra={"unit": "s"},
        ),
    ] = 75.0
    max_unfinished: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="New connections whose first request is not there yet; past it the one that waits "
            "longest is closed.",
            extra={"unit": "connections"},
        ),
    ] = 2_000
    max_idle: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Connections that wait for their next request; past it the one that waits longest is "
            "closed.",
            extra={"unit": "connections"},
        ),
    ] = 2_000
    answer_stalled_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3600,
            description="An answer of which the client takes not one byte for so long is cut off; streams "
            "have limits.stalled_s.",
            extra={"unit": "s"},
        ),
    ] = 20.0
    max_untaken_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=65_536,
            le=1_099_511_627_776,
            description="Bytes of answers that wait until clients take them; past it the one that waits "
            "longest is cut off.",
            extra={"unit": "bytes"},
        ),
    ] = 134_217_728
    connects_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Streams an address may open; faster than that, past connect_burst, it gets 429 with "
            "Retry-After.",
            extra={"unit": "connections/s"},
        ),
    ] = 500.0
    connect_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Streams an address may open at once, as all do after a restart.",
            extra={"unit": "connections"},
        ),
    ] = 10_000
    requests_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Other requests of an address, but for the page's files, posts, /healthz and "
            "/readyz; faster than that, past request_burst, it gets 429 with Retry-After.",
            extra={"unit": "requests/s"},
        ),
    ] = 1_000.0
    request_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Such requests of an address at once.",
            extra={"unit": "requests"},
        ),
    ] = 5_000
    max_exports: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=100_000,
            description="Files of scans and comparisons under way for an address; a further one gets 429 "
            "with Retry-After.",
            extra={"unit": "requests"},
        ),
    ] = 32


class HttpInSection(msgspec.Struct, frozen=True, kw_only=True):
    """Events that programs post to the edge."""

    enabled: Annotated[
        bool, msgspec.Meta(description="Take events by POST /api/scans/ID/events; else it is answered 405.")
    ] = True
    through_proxies: Annotated[
        bool,
        msgspec.Meta(
            description="Take them from who comes by a trusted proxy too; else that is answered 403. Whoever "
            "the proxy lets through can then write to every scan."
        ),
    ] = False
    max_body_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=1_024,
            le=1_000_000,
            description="The largest body of a request, packed and unpacked; beyond it 413.",
            extra={"unit": "bytes"},
        ),
    ] = 1_000_000
    max_events: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=4_096,
            description="Events in a request; beyond it 413.",
            extra={"unit": "events"},
        ),
    ] = 4_096
    max_total_bytes: Annotated[
        int,
        msgspec.Meta(
            ge=1_000_000,
            le=1_073_741_824,
            description="Bytes of all requests that are not answered yet; beyond it 503 with Retry-After.",
            extra={"unit": "bytes"},
        ),
    ] = 16_777_216
    requests_per_s: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1_000_000,
            description="Requests an address may post; faster than that, past request_burst, it gets 429 "
            "with Retry-After.",
            extra={"unit": "requests/s"},
        ),
    ] = 500.0
    request_burst: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1_000_000,
            description="Requests an address may post at once.",
            extra={"unit": "requests"},
        ),
    ] = 2_000
    answer_timeout_s: Annotated[
        float,
        msgspec.Meta(
            ge=0.5,
            le=600,
            description="A request whose events are not acked after so long is answered 504.",
            extra={"unit": "s"},
        ),
    ] = 10.0


class DrainSection(msgspec.Struct, frozen=True, kw_only=True):
    """How an edge that is told to stop lets its browsers go."""

    grace_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=3600,
            description="How long it still takes connections while /readyz is red, for a load balancer that "
            "asks every so often.",
            extra={"unit": "s"},
        ),
    ] = 0.0
    window_s: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=3600,
            description="Over how long many browsers are spread when they are sent away; a few leave "
            "sooner, 200 a second.",
            extra={"unit": "s"},
        ),
    ] = 2.0


def _is_origin(text: str) -> bool:
    """Say whether a text is an origin as browsers send it (RFC 6454, 6.2)."""
    match = _ORIGIN.fullmatch(text)
    return match is not None and match[2] != _OWN_PORT[match[1]] and int(match[2] or 0) <= 65_535


def networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    """Return the networks that texts name, an address being one of its own.

    Raises:
        ValueError: one names none, or has bits set beyond its length.
    """
    return [ip_network(text) for text in texts]
