"""The `token` commands: secrets made, tokens minted and checked. Works on files; no process is asked."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from pipeline.errors import OperatorError, TokenProblem, TokenRejected
from pipeline.runtime import wall_ms

_SECRET_BYTES = 32


@click.group()
def token() -> None:
    """Make a secret, mint tokens with it, and say what a token is worth.

    \b
    Examples:
      pipeline token secret edge.secret
      pipeline token mint --secret-file edge.secret --subject ada --hours 8
      echo "$TOKEN" | pipeline token check --secret-file edge.secret
    """


@token.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def secret(file: Path) -> None:
    """Write a new secret into FILE, which must not be there yet; only its owner can read it.

    \b
    Examples:
      pipeline token secret edge.secret
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)) + b"\n")


@token.command()
@click.option("--secret-file", type=click.Path(path_type=Path), help="File with the secret (HS256).")
@click.option(
    "--private-key-file", type=click.Path(path_type=Path), help="PEM file with the private key instead."
)
@click.option("--algorithm", default="HS256", show_default=True, help="As accounts.algorithm of the edge.")
@click.option("--subject", required=True, help="Whose token it is: scans with this owner can be seen.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 87_600, min_open=True),
    default=8.0,
    show_default=True,
    help="How long it holds.",
)
@click.option("--admin", is_flag=True, help="It may see and do everything.")
@click.option("--scan", "scans", multiple=True, help="Scans that may be read, as a pattern; can be repeated.")
@click.option("--issuer", default="scanstream", show_default=True, help="As accounts.issuer of the edge.")
@click.option("--audience", default="scanstream", show_default=True, help="As accounts.audience of the edge.")
def mint(
    secret_file: Path | None,
    private_key_file: Path | None,
    algorithm: str,
    subject: str,
    hours: float,
    admin: bool,
    scans: tuple[str, ...],
    issuer: str,
    audience: str,
) -> None:
    """Print a token. Its id, by which it can be revoked, goes to stderr.

    \b
    Examples:
      pipeline token mint --secret-file edge.secret --subject ada
      pipeline token mint --secret-file edge.secret --subject ops --admin --hours 1
      pipeline token mint --secret-file edge.secret --subject bob --scan 'lab-*'
    """
    from pipeline.tokens import ADMIN
    from pipeline.tokens import mint as minted

    path = _the_one(secret_file, private_key_file, "--secret-file", "--private-key-file")
    key = _content(path)
    now = wall_ms() / 1000
    token_id = secrets.token_hex(8)
    claims: dict[str, Any] = {
        "sub": subject,
        "iss": issuer,
        "aud": audience,
        "iat": int(now),
        "exp": int(now + hours * 3_600),
        "jti": token_id,
        **({"role": ADMIN} if admin else {}),
        **({"scans": list(scans)} if scans else {}),
    }
    verifier = _verifier(key, algorithm, issuer, audience)
    try:
        made = minted(key, algorithm, claims)
        if secret_file is not None:
            verifier.verify(made, now)
    except TokenRejected as error:
        raise OperatorError(f"the edge would refuse it: {error}") from None
    except Exception as error:  # noqa: BLE001  # whatever a key's reader raises: it is none for this algorithm
        raise OperatorError(f"{path}: no key for {algorithm}: {error}") from None
    click.echo(made)
    click.echo(f"jti {token_id}", err=True)


@token.command()
@click.option("--secret-file", type=click.Path(path_type=Path), help="File with the secret (HS256).")
@click.option(
    "--public-key-file", type=click.Path(path_type=Path), help="PEM file with the public key instead."
)
@click.option("--algorithm", default="HS256", show_default=True, help="As accounts.algorithm of the edge.")
@click.option("--issuer", default="scanstream", show_default=True, help="As accounts.issuer of the edge.")
@click.option("--audience", default="scanstream", show_default=True, help="As accounts.audience of the edge.")
def check(
    secret_file: Path | None, public_key_file: Path | None, algorithm: str, issuer: str, audience: str
) -> None:
    """Say whose the token on stdin is and for how long, as JSON; or end with 1 and say what is wrong.

    \b
    Examples:
      echo "$TOKEN" | pipeline token check --secret-file edge.secret
    """
    key = _content(_the_one(secret_file, public_key_file, "--secret-file", "--public-key-file"))
    now = wall_ms() / 1000
    given = sys.stdin.read(1_000_000).strip()
    try:
        identity = _verifier(key, algorithm, issuer, audience).verify(given, now)
    except TokenRejected as error:
        if error.problem is TokenProblem.SIGNATURE:
            raise OperatorError(f"signature: not signed with this key, as {algorithm}") from None
        raise OperatorError(f"{error.problem}: {error}") from None
    told = {
        "subject": identity.subject,
        "admin": identity.admin,
        "scans": identity.scans,
        "id": identity.token_id,
        "expires_in_s": round(identity.expires_at - now),
    }
    click.echo(json.dumps(told))


def _verifier(key: bytes, algorithm: str, issuer: str, audience: str) -> Any:
    from pipeline.tokens import ALGORITHMS, MIN_SECRET_BYTES, Verifier, is_long_enough

    if algorithm not in ALGORITHMS:
        raise click.UsageError(f"--algorithm {algorithm!r}: one of {', '.join(ALGORITHMS)} is needed")
    if algorithm == "HS256" and not is_long_enough(key):
        raise OperatorError(f"the secret has {len(key)} bytes; at least {MIN_SECRET_BYTES} are needed")
    return Verifier(algorithm, lambda _: [key], issuer, audience)


def _the_one(first: Path | None, second: Path | None, first_name: str, second_name: str) -> Path:
    found = [path for path in (first, second) if path is not None]
    if len(found) != 1:
        raise click.UsageError(f"one of {first_name} and {second_name} is needed")
    return found[0]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
