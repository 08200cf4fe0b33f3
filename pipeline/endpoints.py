"""Where the sockets of a pipeline are: in its run directory, or where an address book says. Shell.

Every process finds the others by this. A socket that the book names is reached by TCP, with CURVE where this
process has a key; every other one is in the run directory, which keeps strangers out by its mode.
"""

from __future__ import annotations

import os
import re
import socket as unix
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.addresses import AddressBook, book_of, is_beyond_loopback, is_key, parse_book
from pipeline.errors import ConfigError
from pipeline.key_files import KeyPair, read_allowed, read_secret
from pipeline.places import run_dir as resolve_run_dir
from pipeline.places import socket_path
from pipeline.sections import CurveSection

MAX_BOOK_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Attributes:
    run_dir: the run directory.
    book: which sockets are elsewhere.
    keys: this process's own; None without CURVE.
    allowed_dir: who may connect to what this process binds; None where it is not told.
    """

    run_dir: Path
    book: AddressBook = field(default_factory=AddressBook)
    keys: KeyPair | None = None
    allowed_dir: Path | None = None

    def __str__(self) -> str:
        if not self.book.addresses:
            return str(self.run_dir)
        if self.run_dir == Path():
            return ",".join(self.book.addresses.values())
        return f"{self.run_dir} and {self.book.source}"

    def is_tcp(self, name: str) -> bool:
        """Say whether a socket is reached by TCP."""
        return name in self.book.addresses

    def address(self, name: str) -> str:
        """Return a socket's address as ZeroMQ takes it.

        Raises:
            EndpointError: its path in the run directory is too long.
        """
        return self.book.addresses.get(name) or f"ipc://{socket_path(self.run_dir, name)}"

    def found(self, pattern: str) -> list[str]:
        """Return the names of sockets, in the order of their numbers.

        Where the book has some that match, it has all of them; else those in the run directory are found.
        Edges are found in both: one that replaces another has another number, which the book need not have.

        Args:
            pattern: a name, or a glob with one number in it, such as `shard-*.events`.
        """
        told = self.book.matching(pattern)
        if told and not pattern.startswith("edge-"):
            return told
        numbered = re.compile(re.escape(pattern).replace(r"\*", "[0-9]+"))
        names = [
            path.name
            for path in self.run_dir.glob(pattern)
            if path.is_socket() and numbered.fullmatch(path.name)
        ]
        return sorted({*told, *names}, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def listens(self, name: str) -> bool:
        """Say whether somebody listens behind a socket; of one that is reached by TCP it is assumed."""
        return self.is_tcp(name) or is_bound(self.run_dir / name)

    def bind_problems(self, name: str) -> list[str]:
        """Return what keeps this process from binding a socket, one line each."""
        if not self.is_tcp(name):
            return []
        where = f"{self.book.source}: [addresses] {name} = {self.book.addresses[name]!r}"
        if self.keys is None:
            return []  # the book was refused if it is beyond loopback
        if self.allowed_dir is None:
            return [
                f"{where}: bound here with a key: [curve] allowed_dir is missing, so nobody could connect"
            ]
        if (told := self.book.server_key(name)) != self.keys.public:
            return [
                f"{where}: [server_keys] says that {told} answers there; the public key of [curve] key_file "
                f"is {self.keys.public}"
            ]
        return []

    def connect_problems(self, names: list[str]) -> list[str]:
        """Return what keeps one socket from connecting to several names, one line each."""
        if self.keys is None:
            return []
        elsewhere = [name for name in names if self.is_tcp(name)]
        here = [name for name in names if not self.is_tcp(name)]
        if not elsewhere or not here:
            return []
        return [
            f"{self.book.source}: [addresses] has {elsewhere[0]}, but not {here[0]}: with keys one socket "
            f"cannot connect to both; put all of these in, or none"
        ]

    def is_elsewhere(self, name: str) -> bool:
        """Say whether who binds a socket may be on another machine, with other processes and clocks."""
        return self.is_tcp(name) and is_beyond_loopback(self.book.addresses[name])

    @property
    def workers_elsewhere(self) -> bool:
        """Whether a worker may be on another machine, whose monotonic clock is not ours."""
        return any(self.is_elsewhere(name) for name in self.book.addresses if name.startswith("shard-"))

    @property
    def open_to_all(self) -> list[str]:
        """The sockets of the book that every user of this machine can connect to: none with keys."""
        return [] if self.keys is not None else list(self.book.addresses)


def endpoints_of(where: Path | Endpoints) -> Endpoints:
    """Return the endpoints of a run directory that has all sockets; those that are given as they are."""
    return where if isinstance(where, Endpoints) else Endpoints(where)


def is_bound(path: Path) -> bool:
    """Say whether somebody listens behind a socket file; one that was killed leaves its file behind."""
    with unix.socket(unix.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full: it is there, and busy
        except OSError:
            return False
    return True


def open_endpoints(
    run_dir: Path, *, book_file: str = "", key_file: str = "", allowed_dir: str = ""
) -> Endpoints:
    """Return where the sockets of a pipeline are, and this process's keys.

    Args:
        run_dir: the run directory.
        book_file: the address book; empty for none.
        key_file: this process's secret key; empty for none.
        allowed_dir: the allow-list; empty for none.

    Raises:
        ConfigError: with every mistake.
    """
    problems: list[str] = []
    book, keys = AddressBook(), None
    if allowed_dir and not key_file:
        problems.append(
            "[curve] allowed_dir needs key_file: without a key of its own a process asks nobody for theirs"
        )
    try:
        keys = read_secret(Path(key_file)) if key_file else None
    except ConfigError as error:
        problems += error.problems
    try:
        if allowed_dir:
            read_allowed(Path(allowed_dir))
    except ConfigError as error:
        problems += error.problems
    try:
        if book_file:
            book = parse_book(_read(Path(book_file)), book_file)
            problems += book.problems(keyed=bool(key_file))
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return Endpoints(run_dir, book, keys, Path(allowed_dir) if allowed_dir else None)


def stage_endpoints(run_dir: str, book_file: str, curve: CurveSection) -> Endpoints:
    """Return the endpoints of a stage; its run directory is made.

    Raises:
        ConfigError: with every mistake.
        EndpointError: the run directory cannot be used.
    """
    return open_endpoints(
        resolve_run_dir(run_dir, os.environ),
        book_file=book_file,
        key_file=curve.key_file,
        allowed_dir=curve.allowed_dir,
    )


def ingest_at(connect: str, server_key: str, key_file: str) -> Endpoints:
    """Return the endpoints of a producer that is told where its ingest is, and has no address book.

    Args:
        connect: the addresses of the data and the control socket, joined by a comma.
        server_key: the ingest's public key, 40 characters; empty without CURVE.
        key_file: the producer's secret key; empty for none.

    Raises:
        ConfigError: with every mistake.
    """
    data, comma, control = (part.strip() for part in connect.partition(","))
    problems = []
    if not comma:
        problems.append(
            f"--connect {connect!r}: two addresses are needed, of the ingest's data and control sockets: "
            f"tcp://HOST:PORT,tcp://HOST:PORT"
        )
    if server_key and not is_key(server_key):
        problems.append(
            f"--server-key: not a public key: 40 characters of Z85 are needed, these are {len(server_key)}"
        )
    if key_file and not server_key:
        problems.append("--key-file needs --server-key: the public key of the ingest")
    if server_key and not key_file:
        problems.append("--server-key needs --key-file: the producer's own secret key")
    if problems:
        raise ConfigError(problems)
    tables = {
        "addresses": {"ingest-0.data": data, "ingest-0.control": control},
        "server_keys": {"*": server_key} if server_key else {},
    }
    book = book_of(tables, "--connect")
    keys = read_secret(Path(key_file)) if key_file else None
    if wrong := book.problems(keyed=keys is not None):
        raise ConfigError(wrong)
    return Endpoints(Path(), book, keys)


def connect_problem(address: str, name: str, source: str) -> str:
    """Return why nobody can connect to an address; empty if it can be tried."""
    if address.endswith(":0"):
        return f"{source}: [addresses] {name} = {address!r}: port 0 is only for who binds"
    if address.startswith("tcp://*:"):
        return f"{source}: [addresses] {name} = {address!r}: * is only for who binds"
    return ""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BOOK_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    if len(raw) > MAX_BOOK_BYTES:
        raise ConfigError([f"{path}: larger than {MAX_BOOK_BYTES} bytes"])
    return raw
