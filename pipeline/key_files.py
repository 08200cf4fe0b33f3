"""CURVE keys on disk: pairs are written and read, and an allow-list is read from its directory. Shell.

A secret key's file is its user's own with mode 0600, or it is not read. Shared by every process.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

import zmq

from pipeline.addresses import is_key
from pipeline.allow_list import AllowList, Peer, allow_list, parse_peer
from pipeline.errors import ConfigError, OperatorError

MAX_FILE_BYTES = 4_096
MAX_PEERS = 10_000
"""Files an allow-list may have."""


class KeyPair(NamedTuple):
    """As text, 40 characters each."""

    public: str
    secret: str


def require_curve() -> None:
    """See that libzmq can encrypt.

    Raises:
        ConfigError: it was built without CURVE.
    """
    if not zmq.has("curve"):
        raise ConfigError(
            [f"libzmq {zmq.zmq_version()} was built without CURVE; the one in pyzmq's wheels has it"]
        )


def new_pair() -> KeyPair:
    """Make a key pair."""
    require_curve()
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def read_secret(path: Path) -> KeyPair:
    """Read a secret key's file.

    Raises:
        ConfigError: it cannot be read, is not the user's own, others can read it, or it holds no key.
    """
    require_curve()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError([f"{path}: not a file"])
        if found.st_uid != os.getuid():
            raise ConfigError([f"{path}: belongs to user {found.st_uid}, not to user {os.getuid()}"])
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            command = f"chmod 600 {shlex.quote(str(path))}"
            raise ConfigError([f"{path}: mode is {mode:04o}; a secret key needs 0600: {command}"])
        lines = os.read(descriptor, MAX_FILE_BYTES).decode("ascii", "replace").splitlines()
    finally:
        os.close(descriptor)
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("# ")]
    if len(keys) != 1 or not is_key(keys[0]):
        raise ConfigError(
            [f"{path}: not a secret key: one line of 40 Z85 characters, as `pipeline keygen` writes"]
        )
    return KeyPair(zmq.curve_public(keys[0].encode()).decode(), keys[0])


def write_pair(path: Path, pair: KeyPair, words: tuple[str, ...], *, force: bool) -> tuple[Path, Path]:
    """Write `PATH.key`, which only its owner can read, and `PATH.pub`.

    Args:
        words: what the peer may do; they go into the public file.
        force: take the place of files that are there.

    Returns:
        (the secret file, the public file)

    Raises:
        OperatorError: one of them is there, and `force` is not given; or cannot be written.
    """
    secret, public = path.with_name(path.name + ".key"), path.with_name(path.name + ".pub")
    if not force:
        for file in (secret, public):
            if file.exists():
                raise OperatorError(
                    f"{file}: is there already; --force replaces it, and who has its key is shut out"
                )
    _write(secret, pair.secret + "\n", 0o600)
    _write(public, "\n".join((pair.public, *words)) + "\n", 0o644)
    return secret, public


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text)
        fresh.replace(path)
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None


def read_allowed(directory: Path) -> AllowList:
    """Read the allow-list: every `NAME.pub` of a directory.

    Raises:
        ConfigError: with every mistake, one line each.
    """
    problems: list[str] = []
    peers: list[Peer] = []
    try:
        strangers = _strangers_write(directory)
        files = sorted(file for file in directory.iterdir() if file.suffix == ".pub")
    except OSError as error:
        raise ConfigError([f"{directory}: {error.strerror}"]) from None
    if strangers:
        raise ConfigError([strangers])
    if len(files) > MAX_PEERS:
        raise ConfigError([f"{directory}: {len(files)} files; the limit is {MAX_PEERS}"])
    for file in files:
        try:
            strangers = _strangers_write(file)
            with file.open("rb") as opened:
                raw = opened.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
            continue
        if strangers:
            problems.append(strangers)
        if len(raw) > MAX_FILE_BYTES:
            problems.append(f"{file}: larger than {MAX_FILE_BYTES} bytes")
            continue
        peer, wrong = parse_peer(file.stem, raw.decode("utf-8", "replace"))
        problems += [f"{file}: {line}" for line in wrong]
        if peer is not None:
            peers.append(peer)
    listed, wrong = allow_list(peers)
    problems += [f"{directory}: {line}" for line in wrong]
    if problems:
        raise ConfigError(problems)
    return listed


def _strangers_write(path: Path) -> str:
    """Say, in words, that others than this user and root may change a part of the allow-list; empty if not.

    Raises:
        OSError: it cannot be looked at, or is neither a file nor a directory.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "not a file")
    if found.st_uid not in (0, os.getuid()):
        return (
            f"{path}: belongs to user {found.st_uid}, who could let themselves in; not to user {os.getuid()}"
        )
    if found.st_mode & 0o022:
        mode = stat.S_IMODE(found.st_mode)
        command = f"chmod go-w {shlex.quote(str(path))}"
        return (
            f"{path}: mode is {mode:04o}; nobody else may write there, or they let themselves in: {command}"
        )
    return ""
