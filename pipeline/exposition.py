"""Serves a process's metrics to Prometheus: `GET /metrics` on an address of its own. Shell.

A thread of the library's kind: a scrape never waits for the stage's loop to have time, and the loop never
for a scraper. What the figures are is the stage's to say. A port that cannot be had is told and counted, and
the stage goes on without.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from pipeline import __version__
from pipeline.log import Log
from pipeline.metrics import HISTOGRAMS, Scrape, families, metric_name
from pipeline.sections import MetricsSection, is_loopback

_REQUEST_S = 5.0
"""How long a scraper may take to ask."""
FIGURES_S = 2.0
"""How long the stage's loop may take to tell its figures."""


class Asked:
    """Figures that only the loop itself may make: a scrape asks, and waits until the loop has told them.

    Args:
        figures: makes them.
    """

    def __init__(self, figures: Callable[[], Scrape]) -> None:
        self._figures = figures
        self._wanted = False
        self._told = threading.Event()
        self._turn = threading.Lock()
        self._latest = Scrape([])

    def tell(self) -> None:
        """Call often in the loop: it does nothing while nobody asks."""
        if self._wanted:
            self._latest = self._figures()
            self._wanted = False
            self._told.set()

    def ask(self) -> Scrape:
        """Return what the loop tells; call it in another thread.

        Raises:
            TimeoutError: the loop did not come to it within `FIGURES_S`.
        """
        with self._turn:
            self._told.clear()
            self._wanted = True
            if not self._told.wait(FIGURES_S):
                raise TimeoutError
            return self._latest


class Metrics:
    """Serves from its making until the process ends, its draining included.

    Args:
        stage: `ingest`, `throttle-batch`, `edge` or `notify`.
        index: which of them on this machine; added to the port.
        settings: where to serve.
        figures: returns what to tell; called in another thread. A TimeoutError is answered with 503.
        log: told when the port cannot be had.

    Attributes:
        url: where they are; empty if nowhere.
        failed: whether the port could not be had.
    """

    def __init__(
        self, stage: str, index: int, settings: MetricsSection, figures: Callable[[], Scrape], log: Log
    ) -> None:
        self.url = ""
        self.failed = False
        if not settings.enabled:
            return
        port = settings.port + index if settings.port else 0
        any_host = not is_loopback(settings.address)
        try:
            server = _server(settings.address)((settings.address, port), _handler(stage, figures, any_host))
        except (OSError, OverflowError) as error:
            self.failed = True
            problem = getattr(error, "strerror", None) or str(error)
            log.warning("metrics cannot be served", address=f"{settings.address}:{port}", problem=problem)
            return
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        self.url = f"http://{host}:{server.server_address[1]}/metrics"
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _server(address: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def server_bind(self) -> None:
            """Bind, without asking the name service who we are, as the base class does: it may not answer."""
            TCPServer.server_bind(self)

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: a scraper that goes away is its own affair."""

    return Server


def _registry(stage: str, figures: Callable[[], Scrape]) -> Any:
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Collector(stage, figures))
    return registry


class _Collector:
    def __init__(self, stage: str, figures: Callable[[], Scrape]) -> None:
        self._stage = stage
        self._figures = figures

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        told = self._figures()
        labels = {"version": __version__, "stage": self._stage}
        yield InfoMetricFamily("pipeline_build", "The version that runs, and its stage.", value=labels)
        for family in families(self._stage, told.counted):
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            found = kind(family.name, family.text)
            for labels, value in family.samples:
                name = family.name + ("_total" if family.kind == "counter" else "")
                found.add_sample(name, labels, value)
            yield found
        for name, text in HISTOGRAMS[self._stage].items():
            histogram = told.took[name]
            yield HistogramMetricFamily(
                metric_name(self._stage, name), text, buckets=histogram.buckets(), sum_value=histogram.sum_s
            )


def _handler(stage: str, figures: Callable[[], Scrape], any_host: bool) -> type[BaseHTTPRequestHandler]:
    """Return what answers one request. The library is imported at the first: it takes its time and memory.

    Args:
        stage: whose figures.
        figures: returns them.
        any_host: whether a request may name any host. On a loopback address it must name that: a page
            elsewhere could otherwise read it by a name of its own that resolves to this machine.
    """
    registry = cache(lambda: _registry(stage, figures))

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S
        server_version = "scanstream"
        sys_version = ""

        def do_GET(self) -> None:
            if not any_host and not is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""):
                self._answer(403, "text/plain; charset=utf-8", b"not a loopback name\n")
                return
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "text/plain; charset=utf-8", b"there is /metrics\n")
                return
            from prometheus_client.exposition import choose_encoder

            encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
            try:
                body = encoder(registry())
            except TimeoutError:
                self._answer(503, "text/plain; charset=utf-8", b"the process does not answer now\n")
                return
            self._answer(200, content_type, body)

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in the base class
            """Say nothing: a scrape every few seconds is no fact."""

    return Handler
