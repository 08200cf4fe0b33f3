"""One attempt to deliver a message to a hook: an HTTP request, and what became of it. Shell.

No redirect is followed, no proxy is used, certificates are checked; the answer's body is thrown away. What is
said of a failure holds nothing of the address, which may hold a secret.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from pipeline import __version__
from pipeline.notify.signing import signed_headers

_STATUS_LINE = re.compile(r"HTTP/1\.[01] (\d{3})")
_MAX_ANSWER_BYTES = 16_777_216


class Answer(NamedTuple):
    """What became of an attempt.

    Attributes:
        status: of the answer; None when there was none in time.
        retry_after: its `Retry-After`; None without one.
        problem: why there was no answer; empty when there was one.
    """

    status: int | None
    retry_after: str | None = None
    problem: str = ""


class Sender:
    """Args:
    max_at_once: how many requests may be under way.
    timeout_s: how long one may take.
    """

    def __init__(self, max_at_once: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=max_at_once, max_body_size=_MAX_ANSWER_BYTES
        )

    def follow(self, max_at_once: int, timeout_s: float) -> None:
        """Go on with other bounds, for requests that begin from now on."""
        self._timeout_s = timeout_s
        self._client.max_clients = max_at_once

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    async def post(
        self, url: str, secrets: tuple[bytes, ...], message_id: str, body: bytes, sent_s: int
    ) -> Answer:
        """Send a message once, and return what became of it.

        Args:
            url: where to.
            secrets: what it is signed with.
            message_id: names the message.
            body: JSON.
            sent_s: the wall clock, epoch seconds.
        """
        seen: list[str] = []
        request = HTTPRequest(
            url,
            "POST",
            HTTPHeaders(
                {
                    "Content-Type": "application/json",
                    "User-Agent": f"scanstream/{__version__}",
                    **signed_headers(secrets, message_id, sent_s, body),
                }
            ),
            body,
            connect_timeout=self._timeout_s,
            request_timeout=self._timeout_s,
            follow_redirects=False,
            decompress_response=False,
            header_callback=seen.append,
            streaming_callback=_throw_away,
        )
        problem = ""
        try:
            await self._client.fetch(request, raise_error=False)
        except HTTPError as error:
            problem = error.message or "no answer"
        except OSError as error:
            problem = error.strerror or type(error).__name__
        except Exception as error:  # noqa: BLE001  whatever a receiver sends, the others are still served
            problem = type(error).__name__
        # The head of an answer decides, although its body did not come whole.
        status = _status(seen)
        return Answer(
            status, _header(seen, "retry-after"), "" if status is not None else problem or "no answer"
        )


def _throw_away(_chunk: bytes) -> None:
    """Keep nothing of an answer's body."""


def _status(lines: list[str]) -> int | None:
    for line in reversed(lines):
        if (match := _STATUS_LINE.match(line)) is not None and not match[1].startswith("1"):
            return int(match[1])
    return None


def _header(lines: list[str], wanted: str) -> str | None:
    for line in reversed(lines):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == wanted:
            return value.strip()[:100]
    return None
