"""The opening handshake, by RFC 6455, 4.2: what is upgraded, what is refused, and the answer."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from pipeline.edge.ws_upgrade import Fields, answer, protocols, refusal

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
USUAL = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def fields(**changed: str | list[str] | None) -> Fields:
    headers = HTTPHeaders()
    for name, value in {
        **USUAL,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }.items():
        for each in [value] if isinstance(value, str) else value or []:
            headers.add(name, each)
    return headers.get_list


def test_the_rfcs_example_is_answered_as_there() -> None:
    given = fields(Sec_WebSocket_Protocol=["chat", "superchat, other"])
    assert refusal("HTTP/1.1", given) is None
    assert protocols(given) == ["chat", "superchat", "other"]
    assert answer(given, "chat", "permessage-deflate") == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        b"\r\n"
    )


def test_nothing_is_answered_that_was_not_agreed_on() -> None:
    assert protocols(fields()) == []
    assert answer(fields(), None, None).count(b"\r\n") == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Connection": ["keep-alive", "Upgrade"]},
    ],
)
def test_tokens_are_found_in_lists_in_any_case(changed: dict[str, str]) -> None:
    assert refusal("HTTP/1.1", fields(**changed)) is None


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None}, 400),
        ({"Upgrade": "websockets"}, 400),
        ({"Connection": None}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": [KEY, KEY]}, 400),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j"}, 400),
        ({"Sec_WebSocket_Key": KEY + "AAAA"}, 400),
        ({"Sec_WebSocket_Key": KEY[:-1]}, 400),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZ!=="}, 400),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZ\xe9=="}, 400),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": ["13", "8"]}, 426),
        ({"Sec_WebSocket_Version": "13", "Upgrade": "h2c"}, 400),
    ],
)
def test_what_is_no_handshake_is_refused_with_a_status(
    changed: dict[str, str | list[str] | None], status: int
) -> None:
    found = refusal("HTTP/1.1", fields(**changed))
    assert found is not None
    assert found.status == status
    assert "needed" in found.problem


def test_http_1_0_has_no_upgrade() -> None:
    found = refusal("HTTP/1.0", fields())
    assert found is not None
    assert found.status == 400
