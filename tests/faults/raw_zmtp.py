"""A peer that speaks ZMTP 3.1 by hand, over a plain socket: it may do what libzmq would never do.

Only NULL is spoken (RFC 37): a greeting of 64 bytes, a READY command, then frames.
"""

from __future__ import annotations

import contextlib
import socket as plain
from pathlib import Path
from typing import Self

from tests.harness import PATIENCE


def greeting(mechanism: bytes) -> bytes:
    """Return what a connection begins with."""
    return b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + mechanism.ljust(20, b"\0") + b"\0" + bytes(31)


GREETING = greeting(b"NULL")
MORE, LARGE, COMMAND = 0x01, 0x02, 0x04


def frame(body: bytes, flags: int = 0) -> bytes:
    """Return a frame."""
    if len(body) > 255:
        return bytes([flags | LARGE]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def announced(size: int) -> bytes:
    """Return the beginning of a frame that says it has so many bytes."""
    return bytes([LARGE]) + size.to_bytes(8, "big")


def command(name: bytes, data: bytes = b"") -> bytes:
    """Return a command's frame."""
    return frame(bytes([len(name)]) + name + data, COMMAND)


def ready(kind: bytes, identity: bytes | None = None) -> bytes:
    """Return the command that ends the handshake."""
    found = b""
    for name, value in ((b"Socket-Type", kind), (b"Identity", identity)):
        if value is not None:
            found += bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return command(b"READY", found)


class RawPeer:
    """Args:
    path: the socket file of a ZeroMQ socket, or its TCP address, as `tcp://127.0.0.1:PORT`.
    kind: what it says it is, such as `PUSH`; empty to say nothing and not even greet.
    identity: its routing id, if it names one.

    Attributes:
        socket: the plain socket.
    """

    def __init__(self, path: Path | str, kind: bytes = b"", identity: bytes | None = None) -> None:
        self.socket = plain.socket(plain.AF_UNIX if isinstance(path, Path) else plain.AF_INET)
        try:
            # Waits while the other side's queue of connections is full.
            if isinstance(path, Path):
                self.socket.connect(str(path))
            else:
                host, _, port = path.removeprefix("tcp://").rpartition(":")
                self.socket.connect((host, int(port)))
            self.socket.settimeout(20 * PATIENCE)
            if kind:
                self.socket.sendall(GREETING + ready(kind, identity))
                said = b""
                while b"READY" not in said:  # what comes before the handshake is over is not taken
                    more = self.socket.recv(65_536)
                    assert more, f"hung up after {said!r}"
                    said += more
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flood(self, what: bytes, total_bytes: int, stuck_s: float = 2.0) -> int:
        """Send the same bytes again and again, until the other side hangs up or reads no more for `stuck_s`.

        Returns:
            How many bytes were sent.
        """
        self.socket.settimeout(stuck_s)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            while sent < total_bytes:
                sent += self.socket.send(memoryview(what)[sent % len(what) :])
        return sent

    def hung_up(self) -> bool:
        """Wait until the other side hangs up, reading what still comes."""
        self.socket.settimeout(20 * PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            while self.socket.recv(65_536):
                pass
        return True
