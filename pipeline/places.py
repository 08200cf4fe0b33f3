"""Where things live on disk: the run directory of the sockets, the data directory of what outlives a run.

Two pipelines with different directories never meet. Shared by every process; touches the file system and
nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import EndpointError, LayoutError
from pipeline.shards import HASH_NAME, MAX_SHARDS

MAX_SOCKET_PATH_BYTES = 90
"""The longest path of an ipc socket: the kernel's own limit is 107 bytes, and libzmq needs some of it."""

LAYOUT_NAME = "layout.json"


def run_dir(option: str, environ: Mapping[str, str], *, make: bool = True) -> Path:
    """Return the run directory, made if it is not there.

    Args:
        option: what a flag or the configuration says; empty for the default.
        environ: the process's environment.
        make: whether one that was named is made; a command that runs no pipeline would make it of a slip of
            the pen. The default one is made in any case, so that nobody else makes it in a place for all.

    Raises:
        EndpointError: it is not there, cannot be made, belongs to somebody else, or others can reach into it.
    """
    named = option or environ.get("PIPELINE_RUN_DIR", "")
    if named:
        path = Path(named).absolute()
        if not make and not path.exists():
            raise EndpointError(f"run directory {path}: no such directory; `up` makes it when it starts")
    elif environ.get("XDG_RUNTIME_DIR"):
        path = Path(environ["XDG_RUNTIME_DIR"]) / "scanstream"
    else:
        path = Path(tempfile.gettempdir()) / f"scanstream-{os.getuid()}"
    return _private_dir(path, "run directory")


def data_dir(option: str, environ: Mapping[str, str], *, make: bool = True) -> Path:
    """Return the data directory.

    Args:
        option: as for `run_dir`.
        environ: the process's environment.
        make: whether it is made if it is not there.

    Raises:
        EndpointError: as for `run_dir`.
    """
    if option:
        path = Path(option).absolute()
    else:
        state = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        path = Path(state) / "scanstream"
    if not make and not path.exists():
        return path
    return _private_dir(path, "data directory")


def _private_dir(path: Path, what: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise EndpointError(f"{what} {path}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise EndpointError(f"{what} {path}: not a directory")
    if found.st_uid != os.getuid():
        raise EndpointError(f"{what} {path}: belongs to user {found.st_uid}, not to user {os.getuid()}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise EndpointError(
            f"{what} {path}: mode is {mode:04o}; 0700 is needed, so that nobody else gets in: "
            f"chmod 700 {shlex.quote(str(path))}"
        )
    return path


def socket_path(directory: Path, name: str) -> Path:
    """Return the path of a socket in a run directory.

    Raises:
        EndpointError: it is too long for an ipc endpoint.
    """
    path = directory / name
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise EndpointError(
            f"socket path {path} is {size} bytes; the limit is {MAX_SOCKET_PATH_BYTES}: choose a shorter run "
            f"directory"
        )
    return path


def read_layout(directory: Path) -> int | None:
    """Return the number of shards a data directory was made with; None when it is new.

    Raises:
        LayoutError: its layout cannot be read, or was made with another hash.
    """
    path = directory / LAYOUT_NAME
    try:
        layout = json.loads(path.read_text())
        shards, hash_name = layout["shards"], layout["hash"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"{path}: cannot be read: {error}") from None
    if hash_name != HASH_NAME:
        raise LayoutError(
            f"{path}: channels are spread by {hash_name!r}; this version spreads by {HASH_NAME!r}"
        )
    if not isinstance(shards, int) or not 1 <= shards <= MAX_SHARDS:
        raise LayoutError(f"{path}: shards is {shards!r}; 1 to {MAX_SHARDS} are possible")
    return shards


def claim_layout(directory: Path, shards: int) -> None:
    """Write the number of shards into a new data directory, or see that it is the one already there.

    Raises:
        LayoutError: the directory was made with another number, or another hash.
        EndpointError: the directory cannot be written.
    """
    try:
        with _locked(directory / (LAYOUT_NAME + ".lock")):
            known = read_layout(directory)
            if known is None:
                fresh = directory / (LAYOUT_NAME + ".new")
                fresh.write_text(json.dumps({"shards": shards, "hash": HASH_NAME}) + "\n")
                fresh.replace(directory / LAYOUT_NAME)
    except OSError as error:
        raise EndpointError(f"data directory {directory}: {error.strerror}") from None
    if known not in (None, shards):
        raise LayoutError(
            f"{directory / LAYOUT_NAME}: made with {known} shards, but {shards} are configured; the "
            f"number of shards is fixed when a data directory is made"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
