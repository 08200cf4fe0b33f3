"""Public keys of an identity provider: a real edge, and a server that comes, changes its keys, and goes."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pipeline.edge.jwks import MAX_KEYS, MAX_TRIED, candidates, usable_keys
from pipeline.tokens import mint
from tests.harness import PATIENCE, Pipeline, deadline, free_port, private_dir


def entry(key_id: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": key_id, "use": "sig"}


class Provider:
    """An identity provider. Attributes: answer: (status, document)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer: tuple[int, Any] = (200, {"keys": []})
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, document = provider.answer
                if status == 0:
                    self.wfile.write(document.encode())  # no HTTP at all
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", document)
                self.end_headers()
                self.wfile.write(
                    document.encode() if isinstance(document, str) else json.dumps(document).encode()
                )

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Give a provider that does not listen yet."""
    made = Provider(free_port())
    yield made
    made.stop()


def token(key: ec.EllipticCurvePrivateKey, key_id: str) -> str:
    now = time.time()  # noqa: TID251  # what a token says is wall clock
    claims = {"sub": "ada", "iss": "scanstream", "aud": "scanstream", "iat": now - 1, "exp": now + 600}
    return mint(key, "ES256", claims, key_id=key_id)


def status(pipeline: Pipeline, bearer: str) -> int:
    request = urllib.request.Request(
        f"{pipeline.url}/api/scans", headers={"Authorization": f"Bearer {bearer}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10 * PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def wait_for(pipeline: Pipeline, bearer: str, wanted: int) -> None:
    end, pause = deadline(30), threading.Event()
    while (found := status(pipeline, bearer)) != wanted:
        assert time.monotonic() < end, f"{found}, not {wanted}"
        pause.wait(0.1)


def test_keys_come_change_and_outlive_their_provider(provider: Provider) -> None:
    first, second, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    settings = f'jwks_url = "http://127.0.0.1:{provider.port}/keys"\nalgorithm = "ES256"\n'
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start(config={"edge": "[accounts]\n" + settings})
            assert status(pipeline, token(first, "one")) == 401, "nobody is there: nobody is let in"
            pipeline.processes["edge-0"].wait_for("keys cannot be fetched")
            provider.answer = (200, {"keys": [entry("one", first)]})
            provider.start()
            wait_for(pipeline, token(first, "one"), 200)
            assert status(pipeline, token(stranger, "one")) == 401
            provider.answer = (200, {"keys": [entry("two", second)]})
            wait_for(pipeline, token(second, "two"), 200)
            assert status(pipeline, token(first, "one")) == 401, "its key is gone"
            for answer in (
                (500, "no"),
                (200, "rubbish"),
                (302, "http://127.0.0.1:1/"),
                (200, {"keys": 7}),
                (0, "SSH-2.0\r\n"),
                (200, "[" * 100_000),
            ):
                provider.answer = answer
                assert status(pipeline, token(stranger, "three")) == 401
                pipeline.processes["edge-0"].wait_for("keys cannot be fetched")
                assert status(pipeline, token(second, "two")) == 200, "what was fetched holds"
            provider.stop()
            assert status(pipeline, token(second, "two")) == 200
        finally:
            pipeline.close()


def test_a_key_of_the_name_a_token_gives_is_tried_else_those_without_a_name() -> None:
    keys = [("one", 1), (None, 2), ("two", 3), ("one", 4), (None, 5)]
    assert candidates(keys, "one") == [1, 4]
    assert candidates(keys, "two") == [3]
    assert candidates(keys, "three") == [2, 5]
    assert candidates(keys[2:3], "three") == [], "a key of another name is never tried"
    assert candidates(keys, None) == [1, 2, 3, 4, 5]
    assert len(candidates([(None, number) for number in range(MAX_KEYS)], "x")) == MAX_TRIED
    assert len(candidates([("a", number) for number in range(MAX_KEYS)], None)) == MAX_TRIED


def test_a_set_that_names_no_keys_lets_in_who_is_signed_by_one_of_them(provider: Provider) -> None:
    first, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    nameless = entry("", first)
    del nameless["kid"]
    provider.answer = (200, {"keys": [nameless]})
    provider.start()
    settings = f'jwks_url = "http://127.0.0.1:{provider.port}/keys"\nalgorithm = "ES256"\n'
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start(config={"edge": "[accounts]\n" + settings})
            wait_for(pipeline, token(first, "any"), 200)
            assert status(pipeline, token(stranger, "any")) == 401
        finally:
            pipeline.close()


def test_only_keys_for_the_algorithm_are_used() -> None:
    good, other_curve = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    rsa_key = json.loads(
        jwt.algorithms.RSAAlgorithm.to_jwk(
            rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
        )
    )
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(good))
    found = usable_keys(
        {
            "keys": [
                entry("good", good),
                entry("curve", other_curve),
                rsa_key,
                {"kty": "oct", "k": "c2VjcmV0"},
                {**entry("for encryption", good), "use": "enc"},
                {**entry("other algorithm", good), "alg": "ES384"},
                {**entry("broken", good), "x": "!"},
                {**private, "kid": "private"},
                "rubbish",
            ]
        },
        "ES256",
    )
    assert [key_id for key_id, _ in found] == ["good", "private"]
    assert all(isinstance(key, ec.EllipticCurvePublicKey) for _, key in found)


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": [{}] * (MAX_KEYS + 1)}])
def test_what_is_no_key_set_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="key set"):
        usable_keys(document, "ES256")
