"""The `token` commands as their users meet them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness import PATIENCE


def run(*args: object, given: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "token", *map(str, args)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Give a file with a new secret."""
    file = tmp_path / "edge.secret"
    assert run("secret", file) == (0, "", "")
    return file


def test_a_secret_is_for_its_owner_only_and_never_written_over(secret: Path) -> None:
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    assert len(before.strip()) >= 32
    code, _, said = run("secret", secret)
    assert (code, "File exists" in said) == (1, True)
    assert secret.read_bytes() == before


def test_what_is_minted_is_what_is_checked(secret: Path) -> None:
    code, made, said = run(
        "mint", "--secret-file", secret, "--subject", "ada", "--admin", "--scan", "lab-*", "--hours", 2
    )
    assert code == 0
    code, told, _ = run("check", "--secret-file", secret, given=made)
    facts = json.loads(told)
    assert 7_000 < facts.pop("expires_in_s") <= 7_200
    assert said == f"jti {facts.pop('id')}\n"
    assert (code, facts) == (0, {"subject": "ada", "admin": True, "scans": ["lab-*"]})


def test_what_is_wrong_with_a_token_is_said(secret: Path, tmp_path: Path) -> None:
    _, made, _ = run("mint", "--secret-file", secret, "--subject", "ada")
    other = tmp_path / "other"
    assert run("secret", other)[0] == 0
    assert run("check", "--secret-file", other, given=made)[::2] == (
        1,
        "error: signature: not signed with this key, as HS256\n",
    )
    assert run("check", "--secret-file", secret, given="rubbish")[::2] == (1, "error: malformed: no token\n")
    code, _, said = run("check", "--secret-file", secret, "--audience", "others", given=made)
    assert (code, said) == (1, "error: audience: aud is not for 'others'\n")


def test_a_short_secret_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("short\n")
    assert run("mint", "--secret-file", short, "--subject", "ada")[::2] == (
        1,
        "error: the secret has 5 bytes; at least 32 are needed\n",
    )
    assert run("mint", "--subject", "ada")[0] == 2
    assert run("mint", "--secret-file", tmp_path / "none", "--subject", "ada")[0] == 1


def test_with_a_pair_of_keys(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    files = (tmp_path / "private.pem", tmp_path / "public.pem")
    files[0].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files[1].write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    code, made, _ = run("mint", "--private-key-file", files[0], "--algorithm", "ES256", "--subject", "ada")
    assert code == 0
    code, told, _ = run("check", "--public-key-file", files[1], "--algorithm", "ES256", given=made)
    assert (code, json.loads(told)["subject"]) == (0, "ada")
    code, _, said = run("mint", "--private-key-file", files[0], "--algorithm", "EdDSA", "--subject", "ada")
    assert (code, "no key for EdDSA" in said) == (1, True)
