"""Where sockets are: the run directory, an address book, or what a producer is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipeline.addresses import book_of
from pipeline.endpoints import (
    MAX_BOOK_BYTES,
    Endpoints,
    endpoints_of,
    ingest_at,
    open_endpoints,
    stage_endpoints,
)
from pipeline.errors import ConfigError
from pipeline.key_files import new_pair, write_pair
from pipeline.sections import CurveSection

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
TWO = "tcp://127.0.0.1:7100,tcp://127.0.0.1:7101"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    return str(write_pair(tmp_path / "own", new_pair(), (), force=False)[0])


def book(place: Path, text: str) -> str:
    path = place / "book.toml"
    path.write_text(text)
    return str(path)


def test_without_a_book_all_are_in_the_run_directory(tmp_path: Path) -> None:
    endpoints = endpoints_of(tmp_path)
    assert endpoints_of(endpoints) is endpoints
    assert endpoints.address("shard-0.in") == f"ipc://{tmp_path}/shard-0.in"
    assert not endpoints.is_tcp("shard-0.in")
    assert str(endpoints) == str(tmp_path)


def test_what_a_book_names_is_elsewhere_and_found_there(tmp_path: Path) -> None:
    path = book(tmp_path, '[addresses]\n"shard-[0-1].events" = "tcp://127.0.0.1:7100"')
    endpoints = open_endpoints(tmp_path, book_file=path)
    assert endpoints.address("shard-1.events") == "tcp://127.0.0.1:7101"
    assert endpoints.address("shard-1.in") == f"ipc://{tmp_path}/shard-1.in"
    assert endpoints.found("shard-*.events") == ["shard-0.events", "shard-1.events"]
    assert endpoints.found("shard-*.in") == []
    assert endpoints.listens("shard-0.events")
    assert not endpoints.listens("shard-0.in")
    assert str(endpoints) == f"{tmp_path} and {path}"


def test_edges_are_found_in_both(tmp_path: Path) -> None:
    path = book(tmp_path, '[addresses]\n"edge-2.control" = "tcp://127.0.0.1:7100"')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "edge-10.control"))
        endpoints = open_endpoints(tmp_path, book_file=path)
        assert endpoints.found("edge-*.control") == ["edge-2.control", "edge-10.control"]
        assert not endpoints.is_elsewhere("edge-2.control")
        assert not endpoints.is_elsewhere("edge-10.control")


def test_who_is_beyond_loopback_is_elsewhere(tmp_path: Path) -> None:
    addresses = {"edge-0.control": "tcp://10.0.0.5:1", "shard-0.events": "tcp://127.0.0.1:2"}
    endpoints = Endpoints(tmp_path, book_of({"addresses": addresses}, "b"))
    assert endpoints.is_elsewhere("edge-0.control")
    assert not endpoints.workers_elsewhere
    addresses["shard-0.events"] = "tcp://10.0.0.6:2"
    assert Endpoints(tmp_path, book_of({"addresses": addresses}, "b")).workers_elsewhere


def test_with_keys_one_socket_connects_to_one_kind(tmp_path: Path, secret: str) -> None:
    path = book(tmp_path, f"[addresses]\n'shard-0.in' = 'tcp://127.0.0.1:1'\n[server_keys]\n'*' = '{KEY}'")
    endpoints = open_endpoints(tmp_path, book_file=path, key_file=secret)
    assert endpoints.connect_problems(["shard-0.in"]) == endpoints.connect_problems(["shard-1.in"]) == []
    [line] = endpoints.connect_problems(["shard-0.in", "shard-1.in"])
    assert line.startswith(
        f"{path}: [addresses] has shard-0.in, but not shard-1.in: with keys one socket cannot"
    )
    assert open_endpoints(tmp_path).connect_problems(["shard-0.in", "shard-1.in"]) == []


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_endpoints(
            tmp_path,
            book_file=book(tmp_path, '[addresses]\n"shard-0.in" = "tcp://10.0.0.5:1"'),
            key_file=str(tmp_path / "none"),
            allowed_dir=str(tmp_path / "nowhere"),
        )
    assert caught.value.problems == [
        f"{tmp_path}/none: No such file or directory",
        f"{tmp_path}/nowhere: No such file or directory",
        f'{tmp_path}/book.toml: [server_keys]: there is none for shard-0, nor for "*"',
    ]


def test_an_allow_list_needs_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[curve\] allowed_dir needs key_file"):
        open_endpoints(tmp_path, allowed_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("none", "No such file or directory"), ("large", f"larger than {MAX_BOOK_BYTES} bytes")],
)
def test_a_book_that_cannot_be_read_is_named(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "large").write_bytes(b"#" * (MAX_BOOK_BYTES + 1))
    with pytest.raises(ConfigError, match=f"{name}: {problem}"):
        open_endpoints(tmp_path, book_file=str(tmp_path / name))


def test_a_stage_has_what_its_configuration_says(tmp_path: Path, secret: str) -> None:
    tmp_path.chmod(0o700)
    path = book(tmp_path, f"[addresses]\n'edge-0.control' = 'tcp://10.0.0.5:1'\n[server_keys]\n'*' = '{KEY}'")
    endpoints = stage_endpoints(str(tmp_path), path, CurveSection(key_file=secret, allowed_dir=str(tmp_path)))
    assert endpoints.keys is not None
    assert (endpoints.run_dir, endpoints.allowed_dir) == (tmp_path, tmp_path)
    assert endpoints.open_to_all == []


# --- a producer that is told where its ingest is ------------------------------------------------------


def test_two_addresses_are_an_ingest(secret: str) -> None:
    endpoints = ingest_at(TWO, KEY, secret)
    assert endpoints.address("ingest-0.data") == "tcp://127.0.0.1:7100"
    assert endpoints.address("ingest-0.control") == "tcp://127.0.0.1:7101"
    assert endpoints.found("ingest-*.control") == ["ingest-0.control"]
    assert endpoints.book.server_key("ingest-0.control") == KEY
    assert str(endpoints) == TWO
    assert ingest_at(TWO, "", "") == Endpoints(Path(), endpoints_without_keys().book)


def endpoints_without_keys() -> Endpoints:
    return ingest_at(TWO.replace(",", " , "), "", "")


@pytest.mark.parametrize(
    ("connect", "server_key", "key_file", "problem"),
    [
        ("tcp://h:1", "", "", "two addresses are needed, of the ingest's data and control sockets"),
        ("tcp://h,tcp://h:2", "", "", "ingest-0.data = 'tcp://h': must be tcp://HOST:PORT"),
        ("tcp://h:1,tcp://h:1", KEY, "own.key", "ingest-0.control would be at tcp://h:1, which is another's"),
        ("tcp://10.0.0.5:1,tcp://10.0.0.5:2", "", "", "beyond loopback ZeroMQ needs CURVE"),
        (TWO, "", "own.key", "--key-file needs --server-key"),
        (TWO, KEY, "", "--server-key needs --key-file"),
        (
            TWO,
            KEY[1:],
            "own.key",
            "--server-key: not a public key: 40 characters of Z85 are needed, these are 39",
        ),
    ],
)
def test_what_is_wrong_is_named(connect: str, server_key: str, key_file: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ingest_at(connect, server_key, key_file)
    assert problem in caught.value.problems[0]
