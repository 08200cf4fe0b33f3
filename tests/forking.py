"""Processes of the pipeline forked from one that has imported what they import: a start costs no imports.

A stage imports for a quarter of a second of a processor, and the tests start thousands. From the first line
of `pipeline` on, what runs is what `python -m pipeline` runs: a process with arguments, environment, standard
streams and an end of its own. Only its modules are imported already. So what a test says of imports, or of a
variable that an interpreter reads when it starts, needs a process that is started afresh.
`SCANSTREAM_TEST_FRESH=1` starts all of them so.

===================== ====================================================================================
the test's process    asks over a socket: arguments, environment, the three standard streams, and a pipe
the server            forks, writes the pid into the pipe, and the exit code when the child has ended
it is left alone      it kills its children: whoever asked for them is gone
===================== ====================================================================================
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
MAX_REQUEST_BYTES = 1_048_576
_LEFT_OUT = {"pipeline.__main__"}


# --- the test's side ----------------------------------------------------------------------------------


class Forked:
    """A process as `subprocess.Popen` gives it, forked by the server.

    Args:
        server: whom to ask.
        arguments: what follows `python -m pipeline`.
        env: its environment.
        stdin: where it reads from: as for `Popen`.

    Attributes:
        pid, returncode, stdin, stdout, stderr: as `Popen`'s.
    """

    def __init__(self, server: Server, arguments: Sequence[str], env: Mapping[str, str], stdin: Any) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._told = b""
        with contextlib.ExitStack() as passed:

            def end(descriptor: int) -> int:
                passed.callback(os.close, descriptor)
                return descriptor

            if stdin == subprocess.PIPE:
                read, write = os.pipe()
                source = end(read)
                self.stdin = open(write, "wb")  # noqa: SIM115  # closed as Popen's is
            elif stdin == subprocess.DEVNULL:
                source = end(os.open(os.devnull, os.O_RDONLY))
            else:
                source = stdin if isinstance(stdin, int) else stdin.fileno()
            out, side_out = os.pipe()
            err, side_err = os.pipe()
            self._status, side_status = os.pipe()
            self.stdout: IO[bytes] = open(out, "rb")  # noqa: SIM115
            self.stderr: IO[bytes] = open(err, "rb")  # noqa: SIM115
            server.ask(self.args, env, [source, end(side_out), end(side_err), end(side_status)])
        while b"\n" not in self._told:
            more = os.read(self._status, 64)
            if not more:
                raise RuntimeError("the server that forks is gone")
            self._told += more
        first, _, self._told = self._told.partition(b"\n")
        self.pid = int(first)

    def poll(self) -> int | None:
        """Return its exit code, the negative number of a signal, or None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 3_600.0 if end is None else max(0.0, end - time.monotonic())
            select.select([self._status] if self.returncode is None else [], [], [], min(left, 1.0))
            code = self._look(0.0)
            if code is not None:
                return code
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing once it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and the server has said so by now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float) -> int | None:
        with self._lock:
            while self.returncode is None and select.select([self._status], [], [], timeout)[0]:
                more = os.read(self._status, 64)
                self._told += more
                if not more:
                    self.returncode = int(self._told or b"-9")
            return self.returncode

    def __del__(self) -> None:
        os.close(self._status)  # not before: several threads may wait for it


class Server:
    """The process that forks, started when it is first needed; it ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_REQUEST_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        atexit.register(self.close)

    def ask(self, arguments: Sequence[str], env: Mapping[str, str], descriptors: list[int]) -> None:
        """Ask for a process; it is told of in the last of the descriptors."""
        request = json.dumps([list(arguments), dict(env), os.getcwd()]).encode("utf-8", "surrogateescape")
        with self._lock:
            socket.send_fds(self._ours, [request], descriptors)

    def close(self) -> None:
        """End it, and what it has forked and still runs."""
        self._ours.close()
        self._process.wait()


_servers: dict[int, Server] = {}
_starting = threading.Lock()


def fork(arguments: Sequence[str], env: Mapping[str, str], stdin: Any) -> Forked:
    """Return a process that runs the pipeline's command with these arguments."""
    with _starting:
        if os.getpid() not in _servers:
            _servers[os.getpid()] = Server()
    return Forked(_servers[os.getpid()], arguments, env, stdin)


# --- the server's side --------------------------------------------------------------------------------


def serve(descriptor: int) -> list[str]:
    """Fork whenever asked; return in a child only, with its arguments, when everything is as it should be."""
    asked = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever pressed Ctrl-C ended the asking process, too
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    running: dict[int, tuple[int, int]] = {}  # descriptor of a process -> its pid, where its end is told
    while True:
        for key, _ in selector.select():
            if key.fileobj is not asked:
                pid, status = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                _, ended = os.waitpid(pid, 0)
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, b"%d" % os.waitstatus_to_exitcode(ended))
                os.close(status)
                continue
            request, passed, _, _ = socket.recv_fds(asked, MAX_REQUEST_BYTES, 4)
            if not request:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                selector.close()
                for process, (_, status) in running.items():
                    os.close(process)
                    os.close(status)
                asked.close()
                return _settle(request, passed)
            process = os.pidfd_open(pid)
            running[process] = (pid, passed[3])
            selector.register(process, selectors.EVENT_READ)
            os.write(passed[3], b"%d\n" % pid)
            for one in passed[:3]:
                os.close(one)


def _settle(request: bytes, passed: list[int]) -> list[str]:
    """Make this process what a fresh one would be; return its arguments."""
    arguments, env, directory = json.loads(request.decode("utf-8", "surrogateescape"))
    for number, descriptor in enumerate(passed[:3]):
        os.dup2(descriptor, number)
    for descriptor in passed:
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        before = getattr(sys, name)
        stream = open(  # noqa: SIM115  # as long as the process
            number, mode, encoding=before.encoding, errors=before.errors, closefd=False
        )
        assert isinstance(stream, io.TextIOWrapper)
        if name == "stderr":
            stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return [str(argument) for argument in arguments]


def _import_all() -> None:
    """Import everything that a process of the pipeline may import, and have the collector let it be."""
    import pipeline

    for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        if module.name not in _LEFT_OUT:
            importlib.import_module(module.name)
    for beside in ("prometheus_client.exposition", "concurrent.futures.thread", "sqlite3", "uuid"):
        importlib.import_module(beside)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_all()
    sys.argv = ["pipeline", *serve(int(sys.argv[1]))]
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
