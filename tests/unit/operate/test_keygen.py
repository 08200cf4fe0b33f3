"""`keygen`: what it writes, prints and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.allow_list import parse_peer
from pipeline.errors import OperatorError
from pipeline.key_files import read_secret
from pipeline.operate.keygen import keygen


def made(*args: str) -> str:
    done = CliRunner().invoke(keygen, args, catch_exceptions=False, standalone_mode=False)
    assert done.exception is None
    return done.output


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ((), {"produce"}),
        (("--for", "read"), {"read"}),
        (("--for", "stage"), {"stage"}),
        (("--names-owners",), {"produce", "names-owners"}),
    ],
)
def test_it_prints_the_public_key_and_writes_both(
    tmp_path: Path, options: tuple[str, ...], may: set[str]
) -> None:
    path = tmp_path / "ada"
    printed = made(str(path), *options)
    pair = read_secret(tmp_path / "ada.key")
    assert printed == pair.public + "\n"
    peer, problems = parse_peer("ada", (tmp_path / "ada.pub").read_text())
    assert problems == []
    assert peer is not None
    assert (peer.keys, peer.may) == ((pair.public,), may)


def test_it_overwrites_nothing_unless_it_is_forced(tmp_path: Path) -> None:
    first = made(str(tmp_path / "ada"))
    with pytest.raises(OperatorError, match="is there already"):
        made(str(tmp_path / "ada"))
    assert read_secret(tmp_path / "ada.key").public + "\n" == first
    assert made(str(tmp_path / "ada"), "--force") != first


def test_only_a_producer_s_owners_are_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(keygen, [str(tmp_path / "ada"), "--for", "read", "--names-owners"])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
