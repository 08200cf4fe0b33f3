"""The edge process: one loop for browsers and workers, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import zmq
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from pipeline.edge.config import EdgeConfig
from pipeline.edge.handlers.rest import (
    Events,
    Health,
    NotFound,
    Page,
    Readiness,
    Scan,
    ScanList,
    Statistics,
)
from pipeline.edge.handlers.several import SeveralSocket, StatsSocket
from pipeline.edge.handlers.sse import ScanEvents, StatsEvents
from pipeline.edge.handlers.websocket import ScanSocket
from pipeline.edge.service import Service
from pipeline.errors import EndpointError, LayoutError
from pipeline.log import Log
from pipeline.places import run_dir
from pipeline.runtime import die_with_parent
from pipeline.sockets import Binder

STATIC_DIR = Path(__file__).parent / "static"
_ID = r"([^/]+)"
_CLOSE_S = 2.0
"""How long browsers are given to answer the close frame when the edge stops."""


def application(service: Service) -> Application:
    """Return the edge's routes."""
    shared: dict[str, Any] = {"service": service}
    static = {**shared, "path": str(STATIC_DIR)}
    return Application(
        [
            (rf"/ws/scans/{_ID}", ScanSocket, {**shared, "wire": "native", "kind": "scan"}),
            (rf"/api/ws/scans/{_ID}", ScanSocket, {**shared, "wire": "heroforge", "kind": "scan"}),
            (rf"/api/ws/reports/{_ID}", ScanSocket, {**shared, "wire": "heroforge", "kind": "report"}),
            (r"/ws/scans", SeveralSocket, shared),
            (r"/ws/stats", StatsSocket, shared),
            (rf"/sse/scans/{_ID}", ScanEvents, shared),
            (r"/sse/stats", StatsEvents, shared),
            (r"/api/scans/stats", Statistics, shared),
            (r"/api/scans", ScanList, shared),
            (rf"/api/scans/{_ID}", Scan, shared),
            (rf"/api/scans/{_ID}/events", Events, shared),
            (r"/healthz", Health, shared),
            (r"/readyz", Readiness, shared),
            (r"/()", Page, {**static, "default_filename": "index.html"}),
            (r"/static/(.*)", Page, static),
        ],
        default_handler_class=NotFound,
        default_handler_args=shared,
        log_function=lambda handler: _log_request(service.log, handler),
        websocket_ping_interval=None,  # the heartbeat is our own
        websocket_max_message_size=service.config.limits.max_inbound_bytes,
    )


def _log_request(log: Log, handler: RequestHandler) -> None:
    """Log a request without its query, which may hold a token."""
    write = log.warning if handler.get_status() == 500 else log.debug
    write(
        "request",
        method=handler.request.method,
        path=handler.request.path,
        status=handler.get_status(),
        duration_ms=round(handler.request.request_time() * 1000, 1),
    )


def _listen(config: EdgeConfig) -> list[socket.socket]:
    http = config.http
    try:
        return bind_sockets(http.port, http.address, reuse_port=http.share_port)
    except OSError as error:
        raise EndpointError(
            f"cannot listen on {http.address}:{http.port}: {error.strerror}; choose another with --port"
        ) from None


async def _serve(config: EdgeConfig, log: Log, binder: Binder, place: Path) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    failed: list[LayoutError] = []

    def fail(error: LayoutError) -> None:
        failed.append(error)
        stopping.set()

    listening = _listen(config)
    service = Service(config, binder, log, fail)
    server = HTTPServer(
        application(service),
        max_header_size=16_384,
        max_body_size=1_048_576,
        idle_connection_timeout=75.0,
        body_timeout=30.0,
    )
    server.add_sockets(listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    beating = loop.create_task(service.beat())
    address, port = listening[0].getsockname()[:2]
    host = f"[{address}]" if ":" in address else address
    log.info("ready", edge=f"http://{host}:{port}/", run_dir=place, shards=config.pipeline.shards)
    try:
        await stopping.wait()
    finally:
        beating.cancel()
        server.stop()
        service.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.empty.wait(), _CLOSE_S)
        service.upstream.close()
        await server.close_all_connections()
        log.info("stopped", **dict(sorted((service.counters + service.upstream.counters).items())))
    if failed:
        raise failed[0]


def run(config: EdgeConfig, log: Log) -> None:
    """Run one edge process until it is told to stop.

    Raises:
        EndpointError: the port or the run directory cannot be used.
        LayoutError: a worker's beacon tells of other shards than this configuration.
    """
    die_with_parent()
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    place = run_dir(config.pipeline.run_dir, os.environ)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, place)
    try:
        asyncio.run(_serve(config, log, binder, place))
    finally:
        binder.close()
        context.term()
