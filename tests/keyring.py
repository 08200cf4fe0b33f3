"""Keys and address books for tests of ZeroMQ over TCP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.endpoints import Endpoints, open_endpoints
from pipeline.key_files import KeyPair, new_pair, write_pair

ANY = "tcp://127.0.0.1:0"


class Keyring:
    """Keys in a directory, and address books beside them.

    Args:
        place: an empty directory.

    Attributes:
        allowed: the allow-list.
        public: name -> public key.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.allowed = place / "allowed"
        self.allowed.mkdir(mode=0o700)
        self.public: dict[str, str] = {}

    def make(self, name: str, *words: str, allowed: bool = True) -> KeyPair:
        """Make a key pair, and let it in."""
        pair = new_pair()
        self.public[name] = pair.public
        write_pair(self.place / name, pair, words, force=True)
        public = self.place / f"{name}.pub"
        if allowed:
            public.replace(self.allowed / public.name)
        return pair

    def file(self, name: str) -> str:
        """Return the path of a secret key."""
        return str(self.place / f"{name}.key")

    def book(self, addresses: Mapping[str, str], server: str = "stage", *, name: str = "book") -> str:
        """Write an address book, in which all is bound with one key; return its path.

        Args:
            addresses: name of a socket -> its address.
            server: whose public key; empty for a book without keys.
            name: of the file.
        """
        lines = ["[addresses]", *(f"{socket!r} = {address!r}" for socket, address in addresses.items())]
        if server:
            lines += ["[server_keys]", f"'*' = '{self.public[server]}'"]
        path = self.place / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def endpoints(self, book: str, name: str, *, binds: bool = False) -> Endpoints:
        """Return what a process with that key is told; without one if the name is empty."""
        return open_endpoints(
            self.place,
            book_file=book,
            key_file=self.file(name) if name else "",
            allowed_dir=str(self.allowed) if binds else "",
        )

    def flags(self, book: str, name: str = "stage", *, binds: bool = True) -> list[str]:
        """Return the flags of a process with that key."""
        flags = ["--endpoints", book, "--key-file", self.file(name)]
        return [*flags, "--allowed-dir", str(self.allowed)] if binds else flags
