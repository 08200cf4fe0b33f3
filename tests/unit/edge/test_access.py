"""`Host`, `Origin` and forwarded headers: what a page elsewhere could send, and what this machine does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from pipeline.edge.access import FORWARDED_HEADERS, refused_host, refused_origin

OURS = [
    "localhost",
    "localhost:8800",
    "LOCALHOST:8800",
    "LocalHost",
    "127.0.0.1",
    "127.0.0.1:8800",
    "127.8.9.10:1",
    "[::1]",
    "[::1]:8800",
]
FOREIGN = [
    "",
    " ",
    ":8800",
    ".",
    "example.com",
    "127.0.0.1.evil.com",
    "127.0.0.1.evil.com:8800",
    "localhost.evil.com",
    "evil.com:localhost",
    "localhost.",
    "xlocalhost",
    "127.1",
    "127.0.0",
    "127.0.0.256",
    "127.0.0.-1",
    "127.0.0.1e0",
    "127.0.0.0x1",
    "127.0.0.\xb2",  # a digit to str.isdigit, and none to int
    "127.0.0." + "9" * 5000,  # more digits than int takes
    "128.0.0.1",
    "0.0.0.0",
    "10.0.0.5",
    "2130706433",
    "::1",
    "[::2]",
    "[::1",
    "[::1]evil.com",
    "[::1].evil.com:8800",
    "[localhost]",
    "[]",
    "user@localhost",
    "localhost@evil.com",
    "localhost:80:80",
    "localhost:evil.com",
    "localhost,evil.com",
]


@pytest.mark.parametrize("host", OURS)
def test_this_machine_is_served(host: str) -> None:
    assert refused_host({"Host": host}) is None
    assert refused_origin({"Host": host}) is None  # a program sends no Origin


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_is_refused_and_named(host: str) -> None:
    problem = refused_host({"Host": host})
    assert problem is not None
    assert repr(host)[1:60].rstrip("'") in problem


def test_a_request_without_host_is_refused() -> None:
    assert refused_host({}) is not None


@pytest.mark.parametrize("name", FORWARDED_HEADERS)
def test_a_proxied_request_is_refused_however_its_header_is_spelt(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        problem = refused_host(HTTPHeaders({"Host": "localhost", spelt: "127.0.0.1"}))
        assert problem is not None
        assert name in problem


@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_pages_are_served(host: str, scheme: str) -> None:
    assert refused_origin({"Host": host, "Origin": f"{scheme}://{host.lower()}"}) is None


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.com",
        "http://localhost",  # another port is another origin
        "http://localhost:8801",
        "http://127.0.0.1:8800",  # the same machine, but another site to a browser
        "http://localhost:8800.evil.com",
        "http://user@localhost:8800",
        "ftp://localhost:8800",
        "file://localhost:8800",
        "localhost:8800",
        "//localhost:8800",
        "http://[::1",  # urlsplit raises
        "http://\u2100.com",
        "http://localhost:8800,http://evil.com",
    ],
)
def test_a_page_elsewhere_is_refused(origin: str) -> None:
    assert refused_origin({"Host": "localhost:8800", "Origin": origin}) is not None


@given(st.text(max_size=60))
def test_no_header_however_odd_is_an_error(text: str) -> None:
    refused_host({"Host": text})
    assert refused_origin({"Host": "localhost", "Origin": "http://" + text + "/"}) is not None or (
        text.lower() == "localhost"
    )
