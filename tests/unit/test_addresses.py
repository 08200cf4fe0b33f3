"""An address book: what its names stand for, and what is wrong with it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.addresses import AddressBook, book_of, host_of, is_beyond_loopback, is_key, parse_book
from pipeline.errors import ConfigError

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
OTHER = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
BOOK = f"""
[addresses]
"ingest-0.data" = "tcp://10.0.0.5:7100"
"shard-[2-4].in" = "tcp://10.0.0.6:7200"
"shard-[8-10].events" = "tcp://[::1]:0"
"notify.control" = "tcp://*:7300"

[server_keys]
"*" = '{KEY}'
"shard-[3-4]" = '{OTHER}'
"""


def test_a_range_is_a_name_and_a_port_each() -> None:
    book = parse_book(BOOK.encode(), "book.toml")
    assert book.addresses == {
        "ingest-0.data": "tcp://10.0.0.5:7100",
        "shard-2.in": "tcp://10.0.0.6:7200",
        "shard-3.in": "tcp://10.0.0.6:7201",
        "shard-4.in": "tcp://10.0.0.6:7202",
        "shard-8.events": "tcp://[::1]:0",
        "shard-9.events": "tcp://[::1]:0",
        "shard-10.events": "tcp://[::1]:0",
        "notify.control": "tcp://*:7300",
    }
    assert book.matching("shard-*.events") == ["shard-8.events", "shard-9.events", "shard-10.events"]
    assert book.matching("edge-*.control") == []
    assert book.matching("notify.control") == ["notify.control"]


def test_a_socket_is_answered_for_by_the_key_of_its_process() -> None:
    book = parse_book(BOOK.encode(), "book.toml")
    assert [book.server_key(name) for name in ("shard-2.in", "shard-3.in", "notify.control")] == [
        KEY,
        OTHER,
        KEY,
    ]
    assert AddressBook().server_key("shard-0.in") == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[addresses", "b: not TOML: "),
        ("\ud800", "b: not TOML: "),
        ("[adresses]", "b: [adresses]: there are [addresses] and [server_keys]"),
        ("addresses = 1", "b: addresses: must be a table, [addresses]"),
        ("[addresses]\nx = 1", "b: [addresses] x: must be a string"),
        (
            '[addresses]\n"shard-0" = "tcp://h:1"',
            "b: [addresses] shard-0: no socket's name; there are ingest-N.data",
        ),
        ('[addresses]\n"shard-[3-2].in" = "tcp://h:1"', "b: [addresses] shard-[3-2].in: no socket's name"),
        ('[addresses]\n"shard-1000.in" = "tcp://h:1"', "b: [addresses] shard-1000.in: no socket's name"),
        *(
            (
                f'[addresses]\n"shard-0.in" = "{address}"',
                "must be tcp://HOST:PORT, with a port of at most 65535",
            )
            for address in (
                "tcp://h",
                "tcp://h:",
                "tcp://:1",
                "tcp://h:65536",
                "ipc://x",
                "h:1",
                "tcp://h:1;x",
            )
        ),
        (
            '[addresses]\n"shard-[0-1].in" = "tcp://h:65535"',
            "shard-1.in would be at port 65536; 65535 is the last one",
        ),
        (
            '[addresses]\n"shard-[0-1].in" = "tcp://h:1"\n"shard-1.in" = "tcp://h:9"',
            "b: [addresses] shard-1.in: shard-1.in has an address already, tcp://h:2",
        ),
        (
            '[addresses]\n"shard-[0-1].in" = "tcp://h:1"\n"shard-0.events" = "tcp://h:2"',
            "b: [addresses] shard-0.events: shard-0.events would be at tcp://h:2, which is another's",
        ),
        (
            f"[server_keys]\n'shard-0.in' = '{KEY}'",
            "b: [server_keys] shard-0.in: no process: ingest-N, shard-N",
        ),
        (
            f"[server_keys]\n'*' = '{KEY[:-1]}'",
            "b: [server_keys] *: not a public key: 40 characters of Z85 are needed",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_book(text.encode("utf-8", "surrogatepass"), "b")
    assert problem in caught.value.problems[0]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        book_of({"addresses": {"x": "y", "shard-0.in": "z"}, "server_keys": {"a": "b"}}, "b")
    assert len(caught.value.problems) == 4


def test_beyond_loopback_it_needs_keys() -> None:
    book = book_of(
        {"addresses": {"shard-0.in": "tcp://127.0.0.1:1", "edge-0.control": "tcp://10.0.0.5:1"}}, "b"
    )
    assert book.problems(keyed=False) == [
        "b: [addresses] edge-0.control = 'tcp://10.0.0.5:1': beyond loopback ZeroMQ needs CURVE: set [curve] "
        "key_file and allowed_dir, or --key-file; `pipeline keygen` makes keys"
    ]
    assert book.problems(keyed=True) == [
        'b: [server_keys]: there is none for shard-0, nor for "*"',
        'b: [server_keys]: there is none for edge-0, nor for "*"',
    ]


@pytest.mark.parametrize(
    ("address", "host", "beyond"),
    [
        ("tcp://127.0.0.1:1", "127.0.0.1", False),
        ("tcp://127.9.9.9:1", "127.9.9.9", False),
        ("tcp://localhost:1", "localhost", False),
        ("tcp://[::1]:1", "::1", False),
        ("tcp://*:1", "*", True),
        ("tcp://0.0.0.0:1", "0.0.0.0", True),
        ("tcp://[::]:1", "::", True),
        ("tcp://127.0.0.1.example:1", "127.0.0.1.example", True),
        ("tcp://eth0:1", "eth0", True),
    ],
)
def test_only_loopback_is_this_machine_s(address: str, host: str, beyond: bool) -> None:
    assert (host_of(address), is_beyond_loopback(address)) == (host, beyond)


def test_a_key_is_forty_characters_of_z85() -> None:
    assert is_key(KEY)
    assert not any(map(is_key, ("", KEY + "a", KEY[:-1], KEY[:-1] + "_", KEY[:-1] + '"', KEY[:-1] + "é")))


@given(st.binary(max_size=200))
def test_whatever_it_holds_it_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_book(raw, "b")
