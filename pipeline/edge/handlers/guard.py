"""What every request passes before anything is done for it, whatever it asks for. Shell.

`enter` takes the request for what `access` says it is; from then on its address and scheme are the
browser's, also where a proxy is between.
"""

from __future__ import annotations

import math
import time

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from pipeline.edge.access import Visit
from pipeline.edge.service import Service


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
