"""Very many WebSocket clients: the program of `_load.c`, compiled, started and told what to do.

Also what a client sends: the upgrade request, and a first message. Knows nothing of who answers.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

from _measuring import LOAD_CORE, on_core

HERE = Path(__file__).parent
QUIET_S = 2.0
"""When nothing has come for so long, nothing more comes."""
_pause = threading.Event()


@functools.cache
def compiled(name: str) -> str:
    """Return the path of a C program of this directory, compiled for this run.

    Raises:
        SystemExit: there is no compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("a C compiler is needed; on Debian: apt-get install gcc libc6-dev")
    place = tempfile.TemporaryDirectory(prefix="ss")
    _built.append(place)
    program = Path(place.name) / name
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / f"{name}.c")], check=True)
    return str(program)


_built: list[tempfile.TemporaryDirectory[str]] = []
"""Where the compiled programs are, until this process ends."""


def upgrade(port: int, path: str, *, deflate: bool, protocol: str = "") -> bytes:
    """Return a client's request for a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    if deflate:
        # What browsers offer, and with it what a server needs that shares what it has deflated.
        lines.append(
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-deflate; "
            "server_no_context_takeover; client_no_context_takeover"
        )
    return "\r\n".join([*lines, "", ""]).encode()


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """Return a client's frame, as long as it is short; its mask is zero."""
    assert len(payload) < 126
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


class Load:
    """Args:
    place: where it may write.
    port: the server's.
    count: clients.
    request: the upgrade request.
    first: what each client sends once open, framed.
    unit: bytes of payload that count as a frame, for a server that does not keep to a message a frame; or 0.
    max_frames: frames of a client whose arrival is kept.

    Attributes:
        deflated: how many clients were answered permessage-deflate.
    """

    def __init__(
        self, place: Path, port: int, count: int, request: bytes, first: bytes, unit: int, max_frames: int
    ) -> None:
        self.count = count
        self.deflated = 0
        self._max_frames = max_frames
        self._arrivals = place / "arrivals"
        (place / "request").write_bytes(request)
        (place / "first").write_bytes(first)
        arguments = [
            str(port),
            str(count),
            str(max_frames),
            str(place / "request"),
            str(place / "first"),
            str(unit),
        ]
        with on_core(LOAD_CORE):
            self._process = subprocess.Popen(
                [compiled("_load"), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"the load ended with {self._process.wait()} at {line!r}")
        return [word.decode() for word in answer[1:]]

    def connect(self) -> None:
        """Open all clients."""
        self.deflated = int(self._ask("connect")[1])

    def reset(self) -> None:
        """Count anew."""
        self._ask("reset")

    def counted(self) -> tuple[int, int]:
        """Return (data frames, bytes) since the reset.

        Raises:
            SystemExit: a client was closed.
        """
        frames, size, closed = map(int, self._ask("count"))
        if closed:
            raise SystemExit(f"{closed} of {self.count} clients were closed by the server")
        return frames, size

    def await_frames(self, each: int, seconds: float) -> None:
        """Wait until so many frames have come for each client, on average, or none comes any more."""
        end = time.monotonic() + seconds
        before, came_at = -1, time.monotonic()
        while (now := self.counted()[0]) < each * self.count:
            if now != before:
                before, came_at = now, time.monotonic()
            if time.monotonic() > min(end, came_at + QUIET_S):
                return
            _pause.wait(0.02)

    def settle(self, quiet_s: float, seconds: float) -> None:
        """Wait until nothing has come for a while."""
        end = time.monotonic() + seconds
        before = -1
        while (now := self.counted()[0]) != before and time.monotonic() < end:
            before = now
            _pause.wait(quiet_s)

    def delays_ms(self, sent_ns: Sequence[int]) -> list[float]:
        """Return how long each frame took to each client, in order; frames that did not come are left out.

        Args:
            sent_ns: when each frame since the reset was sent, CLOCK_MONOTONIC.
        """
        self._ask(f"write {self._arrivals}")
        arrivals = array("Q")
        with self._arrivals.open("rb") as file:
            arrivals.fromfile(file, self.count * self._max_frames)
        delays = []
        for number, sent in enumerate(sent_ns[: self._max_frames]):
            delays += [(at - sent) / 1e6 for at in arrivals[number :: self._max_frames] if at]
        return sorted(delays)

    def close(self) -> None:
        """End it; its connections are reset."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()


def frames_file(path: Path, messages: Sequence[bytes]) -> None:
    """Write what a server is to send, each behind its length."""
    path.write_bytes(b"".join(len(message).to_bytes(4, "big") + message for message in messages))
