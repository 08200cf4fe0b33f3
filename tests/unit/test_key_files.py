"""Keys on disk: what is written, what is read, and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq

from pipeline import key_files
from pipeline.addresses import is_key
from pipeline.errors import ConfigError, OperatorError
from pipeline.key_files import KeyPair, new_pair, read_allowed, read_secret, write_pair


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_secret(path)
    [line] = caught.value.problems
    return line


def test_a_pair_is_read_as_it_was_written(tmp_path: Path) -> None:
    pair = new_pair()
    assert is_key(pair.public)
    assert is_key(pair.secret)
    secret, public = write_pair(tmp_path / "ada", pair, ("produce",), force=False)
    assert (secret.name, public.name) == ("ada.key", "ada.pub")
    assert read_secret(secret) == pair
    assert public.read_text() == f"{pair.public}\nproduce\n"
    assert [stat.S_IMODE(file.stat().st_mode) for file in (secret, public)] == [0o600, 0o644]


def test_a_name_with_a_dot_keeps_it(tmp_path: Path) -> None:
    secret, public = write_pair(tmp_path / "host.example", new_pair(), (), force=False)
    assert (secret.name, public.name) == ("host.example.key", "host.example.pub")


@pytest.mark.parametrize("there", ["ada.key", "ada.pub"])
def test_nothing_is_overwritten_unless_it_is_forced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("before")
    with pytest.raises(OperatorError, match=f"{there}: is there already; --force replaces it"):
        write_pair(tmp_path / "ada", new_pair(), (), force=False)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "before"
    pair = new_pair()
    (tmp_path / there).chmod(0o666)
    secret, _ = write_pair(tmp_path / "ada", pair, (), force=True)
    assert read_secret(secret) == pair


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"none/ada\.key: No such file or directory"):
        write_pair(tmp_path / "none" / "ada", new_pair(), (), force=False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_secret_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    secret, _ = write_pair(tmp_path / "a b", new_pair(), (), force=False)
    secret.chmod(mode)
    assert problem(secret) == f"{secret}: mode is {mode:04o}; a secret key needs 0600: chmod 600 '{secret}'"


def test_a_secret_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, _ = write_pair(tmp_path / "ada", new_pair(), (), force=False)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert problem(secret) == f"{secret}: belongs to user {uid}, not to user {uid + 1}"


@pytest.mark.parametrize("text", ["", "x\n", "a" * 39, "a" * 41, "a" * 40 + "\n" + "b" * 40, "\xff" * 40])
def test_what_is_no_secret_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ada.key"
    file.write_text(text, encoding="latin-1")
    file.chmod(0o600)
    assert (
        problem(file)
        == f"{file}: not a secret key: one line of 40 Z85 characters, as `pipeline keygen` writes"
    )


def test_a_secret_that_is_no_file_is_refused(tmp_path: Path) -> None:
    assert problem(tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert problem(tmp_path) == f"{tmp_path}: not a file"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert problem(tmp_path / "pipe") == f"{tmp_path}/pipe: not a file"


def test_without_curve_in_libzmq_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "has", lambda capability: capability != "curve")
    assert "was built without CURVE" in problem(tmp_path / "ada.key")
    with pytest.raises(ConfigError, match="was built without CURVE"):
        new_pair()


# --- the allow-list -----------------------------------------------------------------------------------


def allowed(place: Path, **files: str) -> list[str]:
    """Write an allow-list; return what is wrong with it."""
    for name, text in files.items():
        (place / f"{name}.pub").write_text(text)
        (place / f"{name}.pub").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        read_allowed(place)
    return caught.value.problems


def test_every_public_file_of_the_directory_is_a_peer(tmp_path: Path) -> None:
    pairs: dict[str, KeyPair] = {}
    for name in ("ada", "host.example"):
        pairs[name] = new_pair()
        write_pair(tmp_path / name, pairs[name], ("read",), force=False)
    (tmp_path / "README").write_text("what this is")
    listed = read_allowed(tmp_path)
    assert {name: peer.keys for name, peer in listed.peers.items()} == {
        name: (pair.public,) for name, pair in pairs.items()
    }


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    key = new_pair().public
    problems = allowed(tmp_path, ada=key, bob=key, carl="x", dora="a" * 5_000, **{"e f": key[::-1]})
    assert [line.partition(": ")[0].rpartition("/")[2] for line in problems] == [
        "carl.pub",
        "dora.pub",
        "e f.pub",
        tmp_path.name,
    ]
    assert problems[-1].endswith(f"bob.pub: {key} is in ada.pub, too")


def test_a_directory_that_others_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    [line] = allowed(tmp_path)
    assert line == (
        f"{tmp_path}: mode is 0775; nobody else may write there, or they let themselves in: "
        f"chmod go-w {tmp_path}"
    )


def test_a_peer_s_file_that_others_write_is_refused(tmp_path: Path) -> None:
    public = write_pair(tmp_path / "ada", new_pair(), (), force=False)[1]
    public.chmod(0o666)
    [line] = allowed(tmp_path)
    assert line.startswith(f"{public}: mode is 0666; nobody else may write there")


def test_what_belongs_to_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path / "ada", new_pair(), (), force=False)
    own, status = os.getuid(), Path.stat

    def of_another(path: Path, **options: bool) -> os.stat_result:
        found = list(status(path, **options))
        found[stat.ST_UID] = own + 7
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", of_another)
    [line] = allowed(tmp_path)
    assert line == f"{tmp_path}: belongs to user {own + 7}, who could let themselves in; not to user {own}"


def test_a_peer_that_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ada.pub")
    assert allowed(tmp_path) == [f"{tmp_path}/ada.pub: not a file"]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        read_allowed(tmp_path / "none")


def test_a_directory_has_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_files, "MAX_PEERS", 1)
    assert allowed(tmp_path, ada="", bob="") == [f"{tmp_path}: 2 files; the limit is 1"]
