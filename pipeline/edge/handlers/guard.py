"""What every request passes before anything is done for it, whatever it asks for. Shell.

`enter` takes the request for what `access` says it is; from then on its address and scheme are the
browser's, also where a proxy is between.
"""

from __future__ import annotations

import math
import time
from types import TracebackType

from tornado.httputil import HTTPServerRequest
from tornado.log import app_log
from tornado.web import HTTPError, RequestHandler

from pipeline.edge.access import Visit
from pipeline.edge.service import Service
from pipeline.edge.ws_upgrade import protocols
from pipeline.errors import TokenProblem, TokenRejected
from pipeline.tokens import EVERYBODY, Identity
from pipeline.wire import TOKEN_PROTOCOL

_MAY_ASK_FOR_S = 600
"""How long a browser may keep what a page of another origin may ask."""


class Discreet(RequestHandler):
    """A request that is logged without its query, which may hold a token, whatever is wrong with it.

    What Tornado itself logs of a request, when it cannot be read and when its handler fails, has the whole
    address.
    """

    def log_exception(
        self,
        _kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(value, HTTPError) or value is None:
            return  # its status stands in the line of the request
        app_log.error(
            "%s %s failed", self.request.method, self.request.path, exc_info=(type(value), value, trace)
        )

    def write_error(self, status_code: int, **details: object) -> None:
        """Answer what went wrong; with 405, which methods there are (RFC 9110, 15.5.6)."""
        if status_code == 405:
            self.set_header("Allow", ", ".join(methods(type(self))))
        super().write_error(status_code, **details)


def methods(handler: type[RequestHandler]) -> list[str]:
    """Return the methods a handler answers."""
    nothing = RequestHandler.get  # stands for each method a handler does not have
    return [name for name in handler.SUPPORTED_METHODS if getattr(handler, name.lower()) is not nothing]


def enter(request: HTTPServerRequest, service: Service) -> Visit:
    """Judge a request, and give it the address and scheme its browser has."""
    visit = service.access.judge(request.headers, request.remote_ip or "", request.protocol)
    request.remote_ip = visit.address
    request.protocol = visit.scheme
    return visit


def share(handler: RequestHandler, visit: Visit, service: Service) -> bool:
    """Let a page of a listed origin read the answer; True when it only asked whether it may ask (CORS).

    There are no cookies, so nothing is ever sent that the page itself has not.
    """
    if service.config.http.origins:
        handler.add_header("Vary", "Origin")  # also for others, or a cache gives a guest what it may not read
    if visit.guest is None:
        return False
    handler.set_header("Access-Control-Allow-Origin", visit.guest)
    handler.set_header("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, Content-Disposition")
    if handler.request.method != "OPTIONS" or "Access-Control-Request-Method" not in handler.request.headers:
        return False
    handler.set_header("Access-Control-Allow-Methods", ", ".join(methods(type(handler))))
    handler.set_header(
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Content-Encoding, Idempotency-Key, Last-Event-ID",
    )
    handler.set_header("Access-Control-Max-Age", str(_MAY_ASK_FOR_S))
    handler.set_status(204)
    return True


def identify(request: HTTPServerRequest, service: Service) -> Identity:
    """Return who a request is of: by `Authorization`, a subprotocol, or, where that is allowed, the query.

    Raises:
        TokenRejected: it brings no token, or one that is not accepted.
    """
    accounts = service.accounts
    if not accounts.on:
        return EVERYBODY
    in_query = service.config.accounts.query_token
    token = _offered(request, in_query=in_query)
    if token is None:
        raise TokenRejected(TokenProblem.MISSING, "a token is needed")
    return accounts.identify(token)


def _offered(request: HTTPServerRequest, *, in_query: bool) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for protocol in protocols(request.headers.get_list):
        if protocol.startswith(TOKEN_PROTOCOL):
            return protocol.removeprefix(TOKEN_PROTOCOL)
    values = request.query_arguments.get("token") if in_query else None
    return values[-1].decode("latin-1") if values else None


def flooded(handler: RequestHandler, service: Service) -> bool:
    """Refuse a stream whose address opens them too fast: 429, and when to come back."""
    wait_s = service.visitors.knock(handler.request.remote_ip or "", time.monotonic())
    if not wait_s:
        return False
    service.refuse("rate", "too many connections at once", path=handler.request.path)
    handler.set_status(429)
    handler.set_header("Retry-After", str(math.ceil(wait_s)))
    return True
