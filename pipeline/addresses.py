"""Where ZeroMQ sockets are that are not in the run directory, and whose keys answer there. Pure.

One file, the same for every process of a pipeline that is spread over machines:

::

    [addresses]
    "ingest-0.data" = "tcp://10.0.0.5:7100"
    "shard-[0-3].in" = "tcp://10.0.0.6:7200"     # shard-0 at 7200 to shard-3 at 7203

    [server_keys]
    "*" = "…"                                    # 40 characters: the public key of every process
    "ingest-0" = "…"                             # but of this one

A socket that does not stand in it is in the run directory. Port 0 is any free one, for whoever binds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.errors import ConfigError
from pipeline.sections import is_loopback

MAX_NUMBER = 999
"""The greatest number of a process or shard."""

_RANGE = r"(\d{1,3}|\[\d{1,3}-\d{1,3}\])"
_SOCKET = re.compile(
    rf"(?:(ingest-){_RANGE}(\.data|\.control)|(edge-){_RANGE}(\.control)|(shard-){_RANGE}(\.in|\.events|\.history)"
    r"|notify\.control)"
)
_PROCESS = re.compile(rf"(?:(ingest-|edge-|shard-){_RANGE}()|notify|\*)")
_ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+|\*):(\d{1,5})")
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAMES = (
    "ingest-N.data, ingest-N.control, shard-N.in, shard-N.events, shard-N.history, edge-N.control, "
    "notify.control"
)


def is_key(text: str) -> bool:
    """Say whether a text is a CURVE key as people write it: 40 characters of Z85 (ZeroMQ RFC 32)."""
    return _KEY.fullmatch(text) is not None


def host_of(address: str) -> str:
    """Return the host of `tcp://HOST:PORT`, without brackets."""
    return address.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def is_beyond_loopback(address: str) -> bool:
    """Say whether others than this machine's users may reach an address, or it is another machine's."""
    return not is_loopback(host_of(address))


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Attributes:
    source: the file it was read from; empty for none.
    addresses: name of a socket -> `tcp://HOST:PORT`.
    server_keys: name of a process, or `*` for all others -> its public key.
    """

    source: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    server_keys: Mapping[str, str] = field(default_factory=dict)

    def server_key(self, name: str) -> str:
        """Return the public key of who binds a socket; empty when it is not told."""
        return self.server_keys.get(name.partition(".")[0]) or self.server_keys.get("*", "")

    def matching(self, pattern: str) -> list[str]:
        """Return the names in it that match a name, or such as `shard-*.events`, in the order of numbers."""
        numbered = re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
        matches = [match for name in self.addresses if (match := numbered.fullmatch(name))]
        matches.sort(key=lambda match: [int(part) for part in match.groups()])
        return [match[0] for match in matches]

    def problems(self, *, keyed: bool) -> list[str]:
        """Return what is wrong with it, one line each.

        Args:
            keyed: whether the process that reads it has a key.
        """
        if keyed:
            bare = dict.fromkeys(
                name.partition(".")[0] for name in self.addresses if not self.server_key(name)
            )
            return [f'{self.source}: [server_keys]: there is none for {name}, nor for "*"' for name in bare]
        return [
            f"{self.source}: [addresses] {name} = {address!r}: beyond loopback ZeroMQ needs CURVE: set "
            f"[curve] key_file and allowed_dir, or --key-file; `pipeline keygen` makes keys"
            for name, address in self.addresses.items()
            if is_beyond_loopback(address)
        ]


def parse_book(raw: bytes, source: str) -> AddressBook:
    """Read an address book.

    Args:
        raw: TOML.
        source: where it is from, for messages.

    Raises:
        ConfigError: with every mistake, one line each.
    """
    try:
        tables = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError([f"{source}: not TOML: {error}"]) from None
    return book_of(tables, source)


def book_of(tables: Mapping[str, object], source: str) -> AddressBook:
    """Make an address book of its tables.

    Args:
        tables: `addresses` and `server_keys`, as TOML has them.
        source: where they are from, for messages.

    Raises:
        ConfigError: with every mistake, one line each.
    """
    problems = [
        f"{source}: [{name}]: there are [addresses] and [server_keys]"
        for name in tables
        if name not in ("addresses", "server_keys")
    ]
    addresses: dict[str, str] = {}
    for name, address in _pairs(tables, "addresses", source, problems):
        where = f"{source}: [addresses] {name}"
        match = _ADDRESS.fullmatch(address)
        if match is None or int(match[2]) > 65_535:
            problems.append(f"{where} = {address!r}: must be tcp://HOST:PORT, with a port of at most 65535")
            continue
        names = _expanded(_SOCKET, name)
        if not names:
            problems.append(
                f"{where}: no socket's name; there are {_NAMES}; N is 0 to {MAX_NUMBER}, or [0-3]"
            )
        for offset, one in enumerate(names):
            port = int(match[2]) and int(match[2]) + offset
            if one in addresses:
                problems.append(f"{where}: {one} has an address already, {addresses[one]}")
            elif port > 65_535:
                problems.append(f"{where}: {one} would be at port {port}; 65535 is the last one")
            elif port and (taken := f"tcp://{match[1]}:{port}") in addresses.values():
                problems.append(f"{where}: {one} would be at {taken}, which is another's")
            else:
                addresses[one] = f"tcp://{match[1]}:{port}"
    server_keys: dict[str, str] = {}
    for name, key in _pairs(tables, "server_keys", source, problems):
        where = f"{source}: [server_keys] {name}"
        processes = _expanded(_PROCESS, name)
        if not processes:
            problems.append(f"{where}: no process: ingest-N, shard-N, edge-N, notify, or * for all others")
        if not is_key(key):
            problems.append(
                f"{where}: not a public key: 40 characters of Z85 are needed, these are {len(key)}"
            )
        server_keys.update(dict.fromkeys(processes, key))
    if problems:
        raise ConfigError(problems)
    return AddressBook(source, addresses, server_keys)


def _pairs(
    tables: Mapping[str, object], section: str, source: str, problems: list[str]
) -> Iterator[tuple[str, str]]:
    table = tables.get(section, {})
    if not isinstance(table, dict):
        problems.append(f"{source}: {section}: must be a table, [{section}]")
        return
    for name, value in table.items():
        if isinstance(value, str):
            yield name, value
        else:
            problems.append(f"{source}: [{section}] {name}: must be a string")


def _expanded(pattern: re.Pattern[str], name: str) -> list[str]:
    """Return the names that a name with a range stands for; none when it is no name."""
    match = pattern.fullmatch(name)
    if match is None:
        return []
    parts = [part for part in match.groups() if part is not None]
    if not parts:
        return [name]
    head, numbers, tail = parts
    first, _, last = numbers.strip("[]").partition("-")
    return [f"{head}{number}{tail}" for number in range(int(first), int(last or first) + 1)]
