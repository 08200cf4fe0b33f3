"""What every request passes before anything is done for it, whatever it asks for. Shell.

`enter` takes the request for what `access` says it is; from then on its address and scheme are the
browser's, also where a proxy is between. `GuardedSocket` is the WebSocket of whatever wire: it is refused
before the upgrade only when its `Host` is foreign or its address asks too fast, and reads by RFC 6455.
"""

from __future__ import annotations

import math
import time

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from pipeline.edge.access import Visit
from pipeline.edge.close_codes import CloseCode
from pipeline.edge.service import Service
from pipeline.edge.ws_protocol import StrictProtocol


def enter(request: HTTPServerRequest, service: Service) -> Visit:
    """Judge a request, and give it the address and scheme its browser has."""
    visit = service.access.judge(request.headers, request.remote_ip or "", request.protocol)
    request.remote_ip = visit.address
    request.protocol = visit.scheme
    return visit


def flooded(handler: RequestHandler, service: Service) -> bool:
    """Refuse a stream whose address opens them too fast: 429, and when to come back."""
    wait_s = service.visitors.knock(handler.request.remote_ip or "", time.monotonic())
    if not wait_s:
        return False
    service.refuse("rate", "too many connections at once", path=handler.request.path)
    handler.set_status(429)
    handler.set_header("Retry-After", str(math.ceil(wait_s)))
    return True


class GuardedSocket(WebSocketHandler):
    """A browser's connection, of whatever wire.

    Attributes:
        text_only: a binary message closes the connection with 1003.
    """

    text_only = True
    _service: Service
    _visit: Visit

    def prepare(self) -> None:
        self._visit = enter(self.request, self._service)
        if self._visit.refused is not None:
            self._service.refuse("host", self._visit.refused, path=self.request.path)
            self.set_status(403)
            self.finish(self._visit.refused)
        elif flooded(self, self._service):
            self.finish("too many connections at once")

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002  # answered with a close code, once it is open
        return True

    def get_websocket_protocol(self) -> WebSocketProtocol13 | None:
        usual = super().get_websocket_protocol()
        if not isinstance(usual, WebSocketProtocol13):
            return None  # another version than 13: answered with 426
        return StrictProtocol(self, usual, self._service.inbound_rate)

    def end(self, code: CloseCode) -> None:
        """Close the connection."""
        raise NotImplementedError

    def fail(self, code: CloseCode, problem: str) -> None:
        """Close it for what the browser sent."""
        self._service.refuse(str(code.code), problem, path=self.request.path)
        self.end(code)
