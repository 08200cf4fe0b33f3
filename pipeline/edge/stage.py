"""The edge process: one loop for browsers and workers, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from tornado.web import Application, RedirectHandler, RequestHandler

from pipeline.edge.close_codes import DRAINING, SHUTDOWN
from pipeline.edge.config import LIVE_KEYS, EdgeConfig
from pipeline.edge.control import Control
from pipeline.edge.draining import TICK_S, told_by
from pipeline.edge.handlers.export import Export
from pipeline.edge.handlers.page import Page, StaticFile
from pipeline.edge.handlers.past import Compare
from pipeline.edge.handlers.post import PostedEvents
from pipeline.edge.handlers.rest import (
    Connections,
    Health,
    Hosts,
    NotFound,
    Readiness,
    Scan,
    ScanList,
    Stages,
    Statistics,
)
from pipeline.edge.handlers.several import SeveralSocket, StatsSocket
from pipeline.edge.handlers.sse import ScanEvents, StatsEvents
from pipeline.edge.handlers.ticket import Tickets
from pipeline.edge.handlers.websocket import ScanSocket
from pipeline.edge.listening import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    EdgeServer,
    listen,
    raise_descriptor_limit,
    tls,
)
from pipeline.edge.page_files import PageFiles
from pipeline.edge.page_joining import joined
from pipeline.edge.roll import Roll
from pipeline.edge.service import Service
from pipeline.edge.ticket_office import TicketOffice
from pipeline.edge.uplink import Uplink
from pipeline.endpoints import stage_endpoints
from pipeline.errors import ConfigError, LayoutError
from pipeline.exposition import FIGURES_S, Metrics
from pipeline.log import Log
from pipeline.metrics import Scrape
from pipeline.reread import read_anew
from pipeline.runtime import die_with_parent, heed
from pipeline.sockets import Binder, tell_bound

STATIC_DIR = Path(__file__).parent / "static"
_ID = r"([^/]+)"
_CLOSE_S = 2.0
"""How long browsers are given to answer the close frame when the edge stops."""


def application(service: Service) -> Application:
    """Return the edge's routes."""
    shared: dict[str, Any] = {"service": service}
    contents = {path.name: path.read_bytes() for path in STATIC_DIR.iterdir() if path.is_file()}
    static = {**shared, "files": PageFiles(joined(contents))}
    routes: list[tuple[Any, ...]] = [
        (rf"/ws/scans/{_ID}", ScanSocket, {**shared, "wire": "native", "kind": "scan"}),
        (rf"/api/ws/scans/{_ID}", ScanSocket, {**shared, "wire": "heroforge", "kind": "scan"}),
        (rf"/api/ws/reports/{_ID}", ScanSocket, {**shared, "wire": "heroforge", "kind": "report"}),
        (r"/ws/scans", SeveralSocket, shared),
        (r"/ws/stats", StatsSocket, shared),
        (rf"/sse/scans/{_ID}", ScanEvents, shared),
        (r"/sse/stats", StatsEvents, shared),
        (r"/api/tickets", Tickets, shared),
        (r"/api/connections", Connections, shared),
        (r"/api/pipeline", Stages, shared),
        (r"/api/scans/stats", Statistics, shared),
        (r"/api/scans", ScanList, shared),
        (rf"/api/scans/{_ID}", Scan, shared),
        (rf"/api/scans/{_ID}/events", PostedEvents, shared),
        (rf"/api/scans/{_ID}/hosts", Hosts, shared),
        (rf"/api/scans/{_ID}/export", Export, shared),
        (rf"/api/scans/{_ID}/compare", Compare, shared),
        (r"/healthz", Health, shared),
        (r"/readyz", Readiness, shared),
        (r"/()", Page, static),
        (r"/static/(.*)", StaticFile, static),
    ]
    base = service.config.http.base_path.rstrip("/")
    if base:
        health = [route for route in routes if route[1] in (Health, Readiness)]
        bare = (re.escape(base), RedirectHandler, {"url": base + "/"})
        routes = [*health, bare, *((re.escape(base) + path, *rest) for path, *rest in routes)]
    return Application(
        routes,
        default_handler_class=NotFound,
        default_handler_args=shared,
        log_function=lambda handler: _log_request(service.log, handler),
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


async def _serve(config: EdgeConfig, log: Log, read: Callable[[], EdgeConfig], binder: Binder) -> None:
    endpoints = binder.endpoints
    loop = asyncio.get_running_loop()
    stops: asyncio.Queue[None] = asyncio.Queue()
    failed: list[LayoutError] = []

    def fail(error: LayoutError) -> None:
        failed.append(error)
        for _ in range(2):  # at once: whoever comes back to this edge is not served either
            stops.put_nowait(None)

    context = tls(config.http)
    listening = listen(config.http, os.environ)
    service = Service(config, binder, log, fail)
    service.tickets = TicketOffice(endpoints.run_dir)
    service.uplink = Uplink(config, binder, log)
    service.max_connections = raise_descriptor_limit(config.limits.max_connections, log)
    control = Control(config.edge.index, binder, log, service.vitals, service.figures, service.told)
    service.all_connections = control.all_connections
    service.roll = Roll(endpoints, config.pipeline.shards)
    requests = config.requests
    server = EdgeServer(
        application(service),
        max_header_size=MAX_HEADER_BYTES,
        max_body_size=MAX_BODY_BYTES,
        idle_connection_timeout=requests.idle_timeout_s,
        body_timeout=requests.body_timeout_s,
        requests=requests,
        kernel_buffer_bytes=config.limits.kernel_buffer_bytes,
        streams=service.streams,
        tls=context,
        counters=service.counters,
        log=log,
        loop=loop,
    )
    service.accounts.start()
    server.accept_on(listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stops.put_nowait, None)
    loop.add_signal_handler(signal.SIGHUP, _read_anew, service, server, binder, read)
    heed(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    beating = loop.create_task(service.beat())
    if config.http.trusted_proxies and not config.accounts.on:
        log.warning("a proxy lets others in, and there are no accounts", hosts=", ".join(config.http.hosts))
    metrics = Metrics("edge", config.edge.index, config.metrics, lambda: _figures(service, loop), log)
    if metrics.failed:
        service.counters["metrics_failed"] += 1
    tell_bound(binder, log)
    log.info(
        "ready",
        edge=_address(config, listening[0].getsockname()),
        run_dir=endpoints.run_dir,
        shards=config.pipeline.shards,
        metrics=metrics.url,
    )
    service.manager.ready()
    try:
        await stops.get()
        service.manager.stopping()
        await _drain(service, server, stops, log)
    finally:
        beating.cancel()
        service.accounts.close()
        await service.roll.close()
        control.close()
        service.upstream.close()
        service.uplink.close()
        await server.finish()
        counted = service.counted() + control.counters
        log.info("stopped", **dict(sorted(counted.items())))
    if failed:
        raise failed[0]


def _read_anew(service: Service, server: EdgeServer, binder: Binder, read: Callable[[], EdgeConfig]) -> None:
    config = read_anew(read, service.config, LIVE_KEYS, service.log)
    service.counters[f"config_reloads{{result={'refused' if config is None else 'taken'}}}"] += 1
    if config is not None:
        try:
            service.accounts.reload(config.accounts)
        except ConfigError as error:
            for problem in error.problems:
                service.log.error("configuration refused; the old one holds", problem=problem)
        service.follow(config, raise_descriptor_limit(config.limits.max_connections, service.log))
        server.follow(config.requests, config.limits.kernel_buffer_bytes)
    binder.read_allowed_anew()


def _figures(service: Service, loop: asyncio.AbstractEventLoop) -> Scrape:
    """Have the loop make the figures, and wait for it, in another thread."""

    async def made() -> Scrape:
        return service.scraped()

    return asyncio.run_coroutine_threadsafe(made(), loop).result(FIGURES_S)


def _address(config: EdgeConfig, bound: tuple[Any, ...]) -> str:
    """Return where browsers find this edge."""
    address, port = bound[:2]
    host = f"[{address}]" if ":" in address else address
    scheme = "https" if config.http.certificate else "http"
    return f"{scheme}://{host}:{port}{config.http.base_path}"


async def _drain(service: Service, server: EdgeServer, stops: asyncio.Queue[None], log: Log) -> None:
    """Let the browsers go: after a grace, in waves, and all at once when told to stop a second time."""
    drain = service.config.drain
    service.draining = True
    log.info("draining", connections=service.connections)
    hurried = await _told_again(stops, drain.grace_s)
    server.stop_accepting()
    service.shut()
    leaving, told = service.members(), 0
    began = time.monotonic()
    while not hurried and told < len(leaving):
        due = told_by(time.monotonic() - began, len(leaving), drain.window_s)
        for connection in leaving[told:due]:
            connection.end(DRAINING)
        told = due
        hurried = told < len(leaving) and await _told_again(stops, TICK_S)
    again = asyncio.ensure_future(stops.get())
    empty = asyncio.ensure_future(service.empty.wait())
    if not hurried:
        await asyncio.wait((again, empty), timeout=_CLOSE_S, return_when=asyncio.FIRST_COMPLETED)
        await service.uplink.settle(_CLOSE_S)
    for task in (again, empty):
        task.cancel()
    for connection in service.members():
        connection.end(SHUTDOWN)  # nothing to those that were told
    await asyncio.sleep(0)
    for connection in service.members():
        connection.drop()


async def _told_again(stops: asyncio.Queue[None], seconds: float) -> bool:
    """Wait; return early, and True, when told to stop once more."""
    try:
        async with asyncio.timeout(seconds):
            await stops.get()
    except TimeoutError:
        return False
    return True


def run(config: EdgeConfig, log: Log, read: Callable[[], EdgeConfig]) -> None:
    """Run one edge process until it is told to stop; `read` reads its configuration anew.

    Raises:
        EndpointError: the port or the run directory cannot be used.
        LayoutError: a worker's beacon tells of other shards than this configuration.
    """
    die_with_parent()
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    place = config.pipeline
    endpoints = stage_endpoints(place.run_dir, place.endpoints, config.curve)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, endpoints, log)
    try:
        asyncio.run(_serve(config, log, read, binder))
    finally:
        binder.close()
        context.term()
