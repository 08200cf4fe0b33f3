"""`Host`, `Origin` and forwarded headers: a page elsewhere, this machine, and who comes through a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from pipeline.edge.access import FORWARDED_HEADERS, NO_HOST, Access, Visit
from pipeline.edge.sections import HttpSection

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


ALONE = Access(HttpSection())
BEHIND = Access(
    HttpSection(hosts=["scans.example.org", "Other.example"], trusted_proxies=["127.0.0.1", "10.1.0.0/16"])
)
PUBLIC = "scans.example.org"


def alone(headers: dict[str, str], scheme: str = "http") -> Visit:
    """Judge a request to an edge that nobody proxies."""
    return ALONE.judge(HTTPHeaders(headers), "127.0.0.1", scheme)


def behind(headers: dict[str, str], peer: str = "127.0.0.1") -> Visit:
    """Judge a request to an edge with a trusted proxy."""
    return BEHIND.judge(HTTPHeaders(headers), peer, "http")


@pytest.mark.parametrize("host", OURS)
def test_this_machine_is_served(host: str) -> None:
    assert alone({"Host": host}) == Visit("127.0.0.1", "http", None, None)  # a program sends no Origin


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_is_refused_and_named(host: str) -> None:
    problem = ALONE.judge({"Host": host}, "127.0.0.1", "http").refused
    assert problem is not None
    assert repr(host)[1:60].rstrip("'") in problem


def test_a_request_without_host_is_refused() -> None:
    assert alone({}).refused is not None


@pytest.mark.parametrize("name", FORWARDED_HEADERS)
def test_a_proxied_request_is_refused_however_its_header_is_spelt(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        problem = alone({"Host": "localhost", spelt: "127.0.0.1"}).refused
        assert problem is not None
        assert name in problem


@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_pages_are_served(host: str, scheme: str) -> None:
    visit = alone({"Host": host, "Origin": f"{scheme}://{host.lower()}"}, scheme)
    assert (visit.refused, visit.foreign) == (None, None)


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
        "https://localhost:8800",  # this edge has no TLS: whoever says so is somebody else
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
    assert ALONE.judge({"Host": "localhost:8800", "Origin": origin}, "127.0.0.1", "http").foreign is not None


@given(st.text(max_size=60))
def test_no_header_however_odd_is_an_error(text: str) -> None:
    ALONE.judge({"Host": text}, "127.0.0.1", "http")
    visit = ALONE.judge({"Host": "localhost", "Origin": "http://" + text + "/"}, "127.0.0.1", "http")
    assert visit.foreign is not None or text.lower() == "localhost"
    for name in FORWARDED_HEADERS:
        BEHIND.judge({"Host": PUBLIC, "X-Forwarded-For": "1.2.3.4", name: text}, "127.0.0.1", "http")
        BEHIND.judge({"Host": PUBLIC, "Forwarded": text}, "127.0.0.1", "http")


# --- behind a proxy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "address", "scheme"),
    [
        ({"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7", "http"),
        ({"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}, "203.0.113.7", "https"),
        ({"X-Forwarded-For": "6.6.6.6, 203.0.113.7"}, "203.0.113.7", "http"),  # the browser's word counts not
        ({"X-Forwarded-For": "203.0.113.7, 10.1.2.3"}, "203.0.113.7", "http"),  # a second trusted proxy
        ({"X-Forwarded-For": "10.1.2.3, 10.1.2.4"}, "10.1.2.3", "http"),
        ({"X-Forwarded-For": "[2001:db8::7]:4711"}, "2001:db8::7", "http"),
        ({"X-Forwarded-For": "2001:db8::7"}, "2001:db8::7", "http"),
        ({"X-Forwarded-For": "203.0.113.7:4711", "X-Real-Ip": "6.6.6.6"}, "203.0.113.7", "http"),
        ({"Forwarded": "for=203.0.113.7"}, "203.0.113.7", "http"),
        ({"Forwarded": 'for=6.6.6.6, For="[2001:db8::7]:1";proto=HTTPS;by=_x'}, "2001:db8::7", "https"),
        ({"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "gopher"}, "203.0.113.7", "http"),
    ],
)
def test_a_trusted_proxy_tells_who_asks(headers: dict[str, str], address: str, scheme: str) -> None:
    assert behind({"Host": PUBLIC, **headers}) == Visit(address, scheme, None, None)


@pytest.mark.parametrize("peer", ["127.0.0.2", "10.2.0.1", "::1"])
def test_nobody_else_is_believed(peer: str) -> None:
    visit = behind({"Host": PUBLIC, "X-Forwarded-For": "203.0.113.7"}, peer)
    assert visit.address == peer
    assert visit.refused is not None
    assert peer in visit.refused


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"},
        {"X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.7"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-Ip": "203.0.113.7"},
        {"X-Forwarded-For": ""},
        {"X-Forwarded-For": "unknown"},
        {"X-Forwarded-For": "203.0.113.7,"},
        {"X-Forwarded-For": ", ".join(["203.0.113.7"] * 33)},
        {"Forwarded": "for=_hidden"},
        {"Forwarded": "proto=https"},
        {"Forwarded": 'for="203.0.113.7'},
        {"Forwarded": "for=203.0.113.7;;"},
    ],
)
def test_who_asks_must_be_told_and_in_one_way(headers: dict[str, str]) -> None:
    assert behind({"Host": PUBLIC, **headers}).refused is not None


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8800", "evil.com", "scans.example.org.evil.com", ""]
)
def test_a_forwarded_request_names_a_listed_host(host: str) -> None:
    refused = behind({"Host": host, "X-Forwarded-For": "203.0.113.7"}).refused
    assert refused is not None
    assert "http.hosts" in refused
    through = {"Host": host, "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": PUBLIC}
    assert behind(through).refused is None


def test_a_direct_request_may_name_a_listed_host_or_this_machine() -> None:
    for host in (PUBLIC, "SCANS.example.org:8443", "other.example", "localhost:8800"):
        assert behind({"Host": host}).refused is None
    assert behind({"Host": "evil.com"}).refused is not None


def test_a_request_that_names_no_host_is_told_apart_from_one_that_names_a_wrong_one() -> None:
    assert alone({}).refused == alone({"Host": ""}).refused == NO_HOST


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("https://scans.example.org", True),
        ("http://scans.example.org", False),
        ("https://other.example", False),  # listed, but not what was asked for
        ("https://scans.example.org:8443", False),
        ("https://evil.com", False),
    ],
)
def test_a_page_behind_a_proxy_has_the_proxys_scheme_and_host(origin: str, own: bool) -> None:
    sent = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Origin": origin}
    assert (behind({"Host": PUBLIC, **sent}).foreign is None) == own
    assert (behind({"Host": "127.0.0.1:8800", "X-Forwarded-Host": PUBLIC, **sent}).foreign is None) == own


GUESTS = Access(HttpSection(origins=["https://app.example.org", "http://localhost:5173"]))


@pytest.mark.parametrize(
    ("origin", "listed"),
    [
        ("https://app.example.org", True),
        ("http://localhost:5173", True),
        ("http://app.example.org", False),
        ("https://app.example.org:8443", False),
        ("https://app.example.org.evil.com", False),
        ("https://APP.example.org", False),  # no browser sends it so
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_listed_origins_are_served_and_no_others(origin: str, listed: bool) -> None:
    visit = GUESTS.judge({"Host": "localhost:8800", "Origin": origin}, "127.0.0.1", "http")
    assert (visit.foreign is None, visit.guest) == ((True, origin) if listed else (False, None))


def test_a_listed_origin_opens_no_other_name_and_is_not_the_edges_own_page() -> None:
    assert GUESTS.judge(
        {"Host": "evil.com", "Origin": "https://app.example.org"}, "127.0.0.1", "http"
    ).refused
    own = GUESTS.judge({"Host": "localhost:8800", "Origin": "http://localhost:8800"}, "127.0.0.1", "http")
    assert (own.foreign, own.guest) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "",
        "https://a.example/",
        "https://a.example:443",
        "http://a.example:80",
        "a.example",
        "https://*.a.example",
        "https://A.example",
        "ftp://a.example",
        "https://a.example:65536",
        "https://a b",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_a_mistake(text: str) -> None:
    [problem] = HttpSection(origins=[text]).problems(accounts=False)
    assert repr(text) in problem


def test_origins_as_browsers_send_them_are_none() -> None:
    good = ["https://a.example", "http://localhost:5173", "https://[::1]:8443", "http://127.0.0.1:1"]
    assert HttpSection(origins=good).problems(accounts=False) == []
