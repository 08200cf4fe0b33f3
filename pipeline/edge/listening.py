"""The edge's door: listening sockets, TLS, who does not finish asking, who does not take an answer. Shell.

Tornado's own way in has no bound for a client that never sends its request, or never takes its answer, and
spins when descriptors run out: its accept fails, the socket stays readable, and every turn of the loop logs
it. Here a failing accept makes a pause, of the connections whose request is not there yet the oldest go, and
so do those whose answers wait.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import time
from asyncio import AbstractEventLoop
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate
from tornado.iostream import IOStream, SSLIOStream
from tornado.netutil import bind_sockets, ssl_wrap_socket

from pipeline.edge.sections import HttpSection, RequestsSection
from pipeline.edge.transmit_stream import untaken
from pipeline.edge.untaken import Untaken
from pipeline.errors import ConfigError, EndpointError
from pipeline.log import LimitedLog, Log
from pipeline.runtime import LISTEN_VARIABLE

MAX_HEADER_BYTES = 16_384
MAX_BODY_BYTES = 16_384
"""Of a request for a ticket. Events that are posted have bounds of their own."""
MAX_BUFFER_BYTES = 2_097_152
"""Of what came and was not looked at yet; a body that is posted comes in parts of 65,536."""
_ACCEPTS = 64
"""Connections accepted in one go, before others have their turn."""
_PAUSE_S = 0.2
"""How long nothing is accepted after the kernel had no room for one more."""
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_OWN_DESCRIPTORS = 256
"""Descriptors kept for what is no browser's stream: sockets to workers, files, requests under way."""


def listen(http: HttpSection, environ: Mapping[str, str]) -> list[socket.socket]:
    """Return sockets that listen: the one handed on by `up`, or new ones.

    Raises:
        EndpointError: the address cannot be used.
    """
    given = environ.get(LISTEN_VARIABLE)
    if given is not None:
        try:
            inherited = socket.socket(fileno=int(given))
            inherited.setblocking(False)
        except (ValueError, OSError) as error:
            raise EndpointError(f"{LISTEN_VARIABLE}={given!r} is no socket that listens: {error}") from None
        os.set_inheritable(inherited.fileno(), False)
        return [inherited]
    try:
        return bind_sockets(http.port, http.address, reuse_port=http.share_port)
    except OSError as error:
        raise EndpointError(
            f"cannot listen on {http.address}:{http.port}: {error.strerror}; choose another with --port"
        ) from None


def tls(http: HttpSection) -> ssl.SSLContext | None:
    """Return what is needed for https, or None without a certificate.

    Raises:
        ConfigError: the files cannot be read, are no PEM, or do not belong together.
    """
    if not http.certificate:
        return None
    for name, path in (("certificate", http.certificate), ("key", http.key)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise ConfigError([f"edge: [http] {name} = {path!r}: {error.strerror}"]) from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(http.certificate, http.key, password=_no_pass_phrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(
            [
                f"edge: [http] certificate = {http.certificate!r}, key = {http.key!r}: no certificate in PEM "
                f"with the key that belongs to it: {reason}"
            ]
        ) from None
    return context


def _no_pass_phrase() -> str:
    raise ValueError("the key has a pass phrase, and nobody is here to type it")


def raise_descriptor_limit(max_connections: int, log: Log) -> int:
    """Let this process open as many descriptors as it may, and return how many streams fit into that.

    Args:
        max_connections: how many are wanted.
        log: told when fewer fit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY or max_connections + _OWN_DESCRIPTORS <= hard:
        return max_connections
    fitting = max(1, hard - _OWN_DESCRIPTORS)
    log.warning("too few descriptors", descriptors=hard, max_connections=max_connections, connections=fitting)
    return fitting


class EdgeServer(HTTPServer):
    """An HTTP server whose door has bounds; make it with `serve`."""

    def initialize(self, *args: Any, **options: Any) -> None:
        self._requests: RequestsSection = options.pop("requests")
        self._kernel_buffer_bytes: int = options.pop("kernel_buffer_bytes")
        self._streams: WeakSet[IOStream] = options.pop("streams")
        self._tls: ssl.SSLContext | None = options.pop("tls")
        self._counters: Counter[str] = options.pop("counters")
        self._limited_log = LimitedLog(options.pop("log"))
        self._loop: AbstractEventLoop = options.pop("loop")
        self._listening: list[socket.socket] = []
        self._unfinished: OrderedDict[IOStream, float] = OrderedDict()
        self._idle: OrderedDict[IOStream, float] = OrderedDict()
        self._served: dict[IOStream, None] = {}
        self._untaken: Untaken[IOStream] = Untaken()
        super().initialize(*args, **options)

    def follow(self, requests: RequestsSection, kernel_buffer_bytes: int) -> None:
        """Let go of those that do not ask, or do not take their answers, by other bounds from now on."""
        self._requests = requests
        self._kernel_buffer_bytes = kernel_buffer_bytes

    # --- accepting --------------------------------------------------------------------------------

    def accept_on(self, listening: list[socket.socket]) -> None:
        """Take connections from now on, and let go of those that do not ask."""
        self._listening = list(listening)
        self._listen_again()
        self._sweep()
        self._look()

    def stop_accepting(self) -> None:
        """Take what has already come, and then no more."""
        listening, self._listening = self._listening, []
        for each in listening:
            self._loop.remove_reader(each)
            self._accept(each, 1_000)
            each.close()

    def _listen_again(self) -> None:
        for each in self._listening:
            self._loop.add_reader(each, self._accept, each, _ACCEPTS)

    def _accept(self, listening: socket.socket, limit: int) -> None:
        for _ in range(limit):
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(error)
                    return
                continue  # it has gone again
            self._take(connection, address)

    def _pause(self, error: OSError) -> None:
        self._counters["accept_failed"] += 1
        self._limited_log.warning("cannot accept", time.monotonic(), problem=error.strerror)
        for each in self._listening:
            self._loop.remove_reader(each)
        self._loop.call_later(_PAUSE_S, self._listen_again)

    def _take(self, connection: socket.socket, address: Any) -> None:
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._kernel_buffer_bytes)
            if self._tls is None:
                stream = IOStream(connection, max_buffer_size=MAX_BUFFER_BYTES)
            else:
                wrapped = ssl_wrap_socket(
                    connection, self._tls, server_side=True, do_handshake_on_connect=False
                )
                stream = SSLIOStream(wrapped, max_buffer_size=MAX_BUFFER_BYTES)
        except OSError:  # it has gone again
            connection.close()
            return
        self._served[stream] = None
        self._unfinished[stream] = time.monotonic()
        if len(self._unfinished) > self._requests.max_unfinished:
            self._let_go("unfinished", next(iter(self._unfinished)))
        self.handle_stream(stream, address)

    # --- asking -----------------------------------------------------------------------------------

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        delegate = super().start_request(server_conn, request_conn)
        stream = getattr(server_conn, "stream", None)
        if not isinstance(stream, IOStream):
            return delegate
        if stream in self._unfinished:
            return _Awaited(delegate, self._unfinished, stream)
        self._idle[stream] = time.monotonic()
        if len(self._idle) > self._requests.max_idle:
            self._let_go("idle", next(iter(self._idle)))
        return _Awaited(delegate, self._idle, stream)

    def on_close(self, server_conn: object) -> None:
        stream = getattr(server_conn, "stream")  # noqa: B009  # Tornado types it as object
        for those in (self._served, self._unfinished, self._idle):
            those.pop(stream, None)
        super().on_close(server_conn)

    def _sweep(self) -> None:
        """Let go of those whose first request is overdue."""
        overdue = time.monotonic() - self._requests.header_timeout_s
        while self._unfinished:
            stream, since = next(iter(self._unfinished.items()))
            if since > overdue:
                break
            self._let_go("headers", stream)
        self._sweeping = self._loop.call_later(self._requests.header_timeout_s / 10, self._sweep)

    def _look(self) -> None:
        """Let go of those that do not take their answers."""
        plain = [stream for stream in self._served if stream not in self._streams]
        waiting = [one for stream in plain if (one := untaken(stream)) is not None]
        stalled_s = self._requests.answer_stalled_s
        for stream, reason in self._untaken.look(
            time.monotonic(), waiting, stalled_s, self._requests.max_untaken_bytes
        ):
            self._let_go(reason, stream)
        self._looking = self._loop.call_later(min(1.0, stalled_s / 10), self._look)

    def _let_go(self, reason: str, stream: IOStream) -> None:
        self._unfinished.pop(stream, None)
        self._idle.pop(stream, None)
        self._counters[f"cut_off{{reason={reason}}}"] += 1
        stream.close()

    async def finish(self) -> None:
        """Close what is left."""
        self.stop_accepting()
        self._sweeping.cancel()
        self._looking.cancel()
        await self.close_all_connections()


class _Awaited(HTTPMessageDelegate):
    """Takes a connection off the list of those waited for once the headers of its request are there."""

    def __init__(
        self, delegate: HTTPMessageDelegate, waited_for: OrderedDict[IOStream, float], stream: IOStream
    ) -> None:
        self._delegate = delegate
        self._waited_for = waited_for
        self._stream = stream

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Any:
        self._waited_for.pop(self._stream, None)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
