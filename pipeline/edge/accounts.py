"""The keys and the revoked tokens of an edge, read from their files; and who a token is of. Shell.

`tokens` decides; this reads files, at the start and whenever it is told to. A file that cannot be used at the
start is an error; later the old one stays, so that a slip of the pen locks nobody out and lets nobody in.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.edge.accounts_section import AccountsSection
from pipeline.edge.jwks import KeySet
from pipeline.errors import ConfigError
from pipeline.log import Log
from pipeline.runtime import wall_ms
from pipeline.tokens import EVERYBODY, MIN_SECRET_BYTES, Identity, Keys, Verifier, is_long_enough
from pipeline.wire import AccessReply, ChannelSummary, PastLife, split_channel

MAX_FILE_BYTES = 1_048_576
"""Of a key's file, and of that with what is revoked."""


def may_see(identity: Identity, of: AccessReply | ChannelSummary | PastLife) -> bool:
    """Say whether somebody may see a channel, of which a worker has told whose it is."""
    return identity.may_see(split_channel(of.channel)[1], of.owner, of.shared_with)


class Holder:
    """Whose a connection is; a later token of the same subject may take the place of the first.

    Attributes:
        identity: as the token says that counts now.
    """

    __slots__ = ("identity",)

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


def who(holder: Holder | None) -> Identity:
    """Return whose a connection is; everybody's where there are no accounts."""
    return holder.identity if holder is not None else EVERYBODY


class Accounts:
    """Args:
    settings: which files, and what tokens must say.
    log: told when keys cannot be fetched.
    counters: where fetches are counted.

    Raises:
        ConfigError: a file cannot be used.
    """

    def __init__(self, settings: AccountsSection, log: Log, counters: Counter[str]) -> None:
        self._key_set = None
        if settings.jwks_url:
            _need_cryptography(f"[accounts] jwks_url = {settings.jwks_url!r}")
            self._key_set = KeySet(
                settings.jwks_url, settings.algorithm, settings.jwks_refresh_s, log, counters
            )
        self._verifier = self._made(settings)

    def start(self) -> None:
        """Begin to fetch keys, if that is how they come; call once the loop runs."""
        if self._key_set is not None:
            self._key_set.start()

    def close(self) -> None:
        """Fetch no more keys."""
        if self._key_set is not None:
            self._key_set.close()

    def _made(self, settings: AccountsSection) -> Verifier | None:
        if not settings.on:
            return None
        return _verifier(settings, self._key_set.keys if self._key_set is not None else None)

    @property
    def on(self) -> bool:
        """Whether there are accounts."""
        return self._verifier is not None

    def reload(self, settings: AccountsSection) -> None:
        """Read the files anew; connections that are open are looked at again at their next beat.

        Raises:
            ConfigError: one cannot be used; everything stays as it was.
        """
        self._verifier = self._made(settings)

    def identify(self, token: str) -> Identity:
        """Return who a token is of; everybody where there are no accounts.

        Raises:
            TokenRejected: it is not accepted.
        """
        if self._verifier is None:
            return EVERYBODY
        return self._verifier.verify(token, wall_ms() / 1000)

    def still_holds(self, identity: Identity) -> bool:
        """Say whether a token that was accepted is neither over nor revoked."""
        verifier = self._verifier
        if verifier is None:
            return True
        return (
            wall_ms() / 1000 < identity.expires_at + verifier.leeway_s
            and f"sub:{identity.subject}" not in verifier.revoked
            and (not identity.token_id or identity.token_id not in verifier.revoked)
        )


def _verifier(settings: AccountsSection, fetched: Keys | None) -> Verifier:
    problems: list[str] = []
    keys: list[Any] = []
    for name in ("secret_file", "previous_secret_file"):
        if path := getattr(settings, name):
            secret = _read(name, path, problems).strip()
            if secret and not is_long_enough(secret):
                problems.append(
                    f"[accounts] {name} = {path!r}: the secret has {len(secret)} bytes; at least "
                    f"{MIN_SECRET_BYTES} are needed"
                )
            keys.append(secret)
    if settings.public_key_file:
        pem = _read("public_key_file", settings.public_key_file, problems)
        if pem and (key := _public_key(settings, pem, problems)) is not None:
            keys.append(key)
    revoked: frozenset[str] = frozenset()
    if settings.revoked_file:
        content = _read("revoked_file", settings.revoked_file, problems, may_be_empty=True)
        lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
        revoked = frozenset(filter(None, lines))
    if problems:
        raise ConfigError(problems)
    return Verifier(
        settings.algorithm,
        fetched or (lambda _: keys),
        settings.issuer,
        settings.audience,
        settings.leeway_s,
        revoked,
    )


def _read(name: str, path: str, problems: list[str], *, may_be_empty: bool = False) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        problems.append(f"[accounts] {name} = {path!r}: {error.strerror or error}")
        return b""
    if len(content) > MAX_FILE_BYTES:
        problems.append(f"[accounts] {name} = {path!r}: is larger than {MAX_FILE_BYTES} bytes")
        return b""
    if not content.strip() and not may_be_empty:
        problems.append(f"[accounts] {name} = {path!r}: is empty")
    return content


def _need_cryptography(where: str) -> None:
    """See to it that public keys can be used: an extra, for whoever has a secret does without."""
    if find_spec("cryptography") is None:
        raise ConfigError([f"{where}: needs pip install 'scanstream[jwks]'"])


def _public_key(settings: AccountsSection, pem: bytes, problems: list[str]) -> Any:
    where = f"[accounts] public_key_file = {settings.public_key_file!r}"
    _need_cryptography(where)
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    kinds: dict[str, type] = {
        "RS256": rsa.RSAPublicKey,
        "ES256": ec.EllipticCurvePublicKey,
        "EdDSA": ed25519.Ed25519PublicKey,
    }
    try:
        key = load_pem_public_key(pem)
    except Exception:  # noqa: BLE001  # whatever its parsers raise: it is none
        problems.append(f"{where}: is no public key in PEM")
        return None
    if not isinstance(key, kinds[settings.algorithm]):
        problems.append(f"{where}: is no key for {settings.algorithm}")
        return None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2_048:
        problems.append(f"{where}: has {key.key_size} bits; at least 2048 are needed")
    return key
