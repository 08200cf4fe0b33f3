"""Signatures, held against the example that the libraries of Standard Webhooks are tested with."""

from __future__ import annotations

import base64

import pytest

from pipeline.notify.signing import read_secrets, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def key(size: int) -> str:
    return base64.b64encode(bytes(range(size))).decode()


def test_the_specifications_example() -> None:
    headers = signed_headers(
        read_secrets(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_is_changed_both_sign() -> None:
    old, new = f"whsec_{key(32)}", SECRET
    both = read_secrets(f"{new}\n{old}\n")
    signature = signed_headers(both, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')[
        "webhook-signature"
    ]
    assert signature.split(" ")[0] == SIGNATURE
    assert [each[:3] for each in signature.split(" ")] == ["v1,", "v1,"]


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_with_and_without_its_prefix(size: int) -> None:
    assert read_secrets(key(size)) == read_secrets(f" whsec_{key(size)}\n") == (bytes(range(size)),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds 0 secrets; 1 to 4 are possible"),
        (f"{key(24)} " * 5, "holds 5 secrets; 1 to 4 are possible"),
        (key(23), "a secret is 23 bytes; 24 to 64 are possible"),
        (key(65), "a secret is 65 bytes; 24 to 64 are possible"),
        ("whsec_&&&hunter2", "is no secret: whsec_ and base64"),
        (f"whsec_{key(32)[:-3]}", "is no secret: whsec_ and base64"),
    ],
)
def test_what_is_no_secret_is_told_and_never_shown(text: str, told: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        read_secrets(text)
    assert str(caught.value) == told
