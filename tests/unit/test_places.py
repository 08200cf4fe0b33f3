"""Where things live: which directory is taken, what it must be like, and the layout kept in it."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from pipeline.errors import EndpointError, LayoutError
from pipeline.places import (
    LAYOUT_NAME,
    MAX_SOCKET_PATH_BYTES,
    claim_layout,
    data_dir,
    read_layout,
    run_dir,
    socket_path,
)
from pipeline.shards import HASH_NAME, MAX_SHARDS


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_flag_goes_before_the_variables(tmp_path: Path) -> None:
    environ = {"PIPELINE_RUN_DIR": str(tmp_path / "variable"), "XDG_RUNTIME_DIR": str(tmp_path / "xdg")}
    (tmp_path / "xdg").mkdir()
    assert run_dir(str(tmp_path / "flag"), environ) == tmp_path / "flag"
    assert run_dir("", environ) == tmp_path / "variable"
    assert run_dir("", {**environ, "PIPELINE_RUN_DIR": ""}) == tmp_path / "xdg" / "scanstream"
    assert [mode(path) for path in (tmp_path / "flag", tmp_path / "variable")] == [0o700, 0o700]


def test_without_any_it_is_the_users_own_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_dir("", {}) == tmp_path / f"scanstream-{os.getuid()}"


def test_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_dir(str(tmp_path / "flag"), {"XDG_STATE_HOME": "/no"}) == tmp_path / "flag"
    assert data_dir("", {"XDG_STATE_HOME": str(tmp_path / "state")}) == tmp_path / "state" / "scanstream"
    found = data_dir("", {})
    assert found == tmp_path / "home" / ".local" / "state" / "scanstream"
    assert mode(found) == 0o700


def test_a_relative_path_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_dir("here", {}) == tmp_path / "here"


@pytest.mark.parametrize("bits", [0o701, 0o710, 0o750, 0o755, 0o777])
def test_a_directory_others_get_into_is_refused_with_its_mode(tmp_path: Path, bits: int) -> None:
    tmp_path.chmod(bits)
    with pytest.raises(EndpointError, match=rf"mode is {bits:04o}; 0700 is needed.*: chmod 700 {tmp_path}$"):
        run_dir(str(tmp_path), {})


def test_one_who_runs_no_pipeline_makes_no_run_directory_but_the_default(tmp_path: Path) -> None:
    slip, environ = tmp_path / "slip", {"XDG_RUNTIME_DIR": str(tmp_path)}
    for option, named in ((str(slip), {}), ("", {"PIPELINE_RUN_DIR": str(slip)})):
        with pytest.raises(EndpointError, match="no such directory; `up` makes it"):
            run_dir(option, {**environ, **named}, make=False)
    assert not slip.exists()
    assert run_dir("", environ, make=False).is_dir()
    slip.mkdir(mode=0o700)
    assert run_dir(str(slip), environ, make=False) == slip


def test_a_data_directory_is_looked_at_without_making_it(tmp_path: Path) -> None:
    assert data_dir(str(tmp_path / "new"), {}, make=False) == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    tmp_path.chmod(0o755)
    with pytest.raises(EndpointError, match="0700 is needed"):
        data_dir(str(tmp_path), {}, make=False)


def test_another_users_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(EndpointError, match="belongs to user"):
        run_dir(str(tmp_path), {})


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EndpointError, match=rf"run directory {path}: "):
            run_dir(str(path), {})


def test_a_socket_path_has_its_limit() -> None:
    directory = Path("/" + "d" * (MAX_SOCKET_PATH_BYTES - 6))
    assert socket_path(directory, "name") == directory / "name"
    with pytest.raises(EndpointError, match=f"is {MAX_SOCKET_PATH_BYTES + 1} bytes; the limit is"):
        socket_path(directory, "names")
    with pytest.raises(EndpointError):  # bytes count, not characters
        socket_path(Path("/" + "é" * (MAX_SOCKET_PATH_BYTES // 2)), "n")


def test_a_layout_is_written_once_and_then_only_compared(tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None
    claim_layout(tmp_path, 4)
    assert read_layout(tmp_path) == 4
    claim_layout(tmp_path, 4)
    with pytest.raises(LayoutError, match="made with 4 shards, but 5 are configured"):
        claim_layout(tmp_path, 5)
    assert read_layout(tmp_path) == 4


def test_another_hash_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / LAYOUT_NAME).write_text(json.dumps({"shards": 4, "hash": "modulo"}))
    for call in (lambda: read_layout(tmp_path), lambda: claim_layout(tmp_path, 4)):
        with pytest.raises(LayoutError, match=f"'modulo'; this version spreads by '{HASH_NAME}'"):
            call()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "4", "null", '{"shards":4}', '{"hash":"' + HASH_NAME + '"}', "\x00"]
)
def test_a_layout_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / LAYOUT_NAME).write_text(text)
    with pytest.raises(LayoutError, match=LAYOUT_NAME) as caught:
        read_layout(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_data_directory_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "layout.json.lock").mkdir()  # root may write whatever a mode forbids
    with pytest.raises(EndpointError, match=rf"^data directory {tmp_path}: Is a directory$"):
        claim_layout(tmp_path, 4)


@pytest.mark.parametrize("shards", [0, -1, MAX_SHARDS + 1, 1.5, "4", None])
def test_a_layout_has_a_possible_number_of_shards(tmp_path: Path, shards: object) -> None:
    (tmp_path / LAYOUT_NAME).write_text(json.dumps({"shards": shards, "hash": HASH_NAME}))
    with pytest.raises(LayoutError, match=f"1 to {MAX_SHARDS} are possible"):
        read_layout(tmp_path)


def test_of_many_who_claim_at_once_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    refused: list[str] = []

    def claim(shards: int) -> None:
        try:
            claim_layout(tmp_path, shards)
        except LayoutError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=claim, args=(shards,)) for shards in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = read_layout(tmp_path)
    assert len(refused) == 7
    assert all(f"made with {winner} shards" in problem for problem in refused)
