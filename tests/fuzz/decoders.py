"""Every decoder that reads what others wrote: what it may raise, and something it takes, to begin with."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jwt

from pipeline import wire
from pipeline.edge import browser_actions
from pipeline.edge.access import Access
from pipeline.edge.deflate import agree
from pipeline.edge.filter import read_filter
from pipeline.edge.jwks import usable_keys
from pipeline.edge.page_files import takes_gzip
from pipeline.edge.past import read_after, read_epoch, read_reference
from pipeline.edge.posted_body import JSON_TYPE, BodyRefused, media_type, read_body, unpack
from pipeline.edge.sections import HttpSection
from pipeline.edge.since import read_since
from pipeline.edge.ws_reading import WebSocketReader
from pipeline.edge.ws_upgrade import answer, refusal
from pipeline.errors import EventRejected, MessageMalformed, OperatorError, TokenRejected
from pipeline.event import check_event, read_event
from pipeline.ingest.admission import admit
from pipeline.producer.adapters import ADAPTER_NAMES, open_adapter
from pipeline.producer.replay import read_line
from pipeline.spool import read_spool
from pipeline.tickets import issue, read_ticket
from pipeline.tokens import Identity, Verifier, mint

RECORDINGS = Path(__file__).parents[1] / "unit/producer/recordings"
EVENT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}'
ENVELOPE = wire.encode_envelope(
    wire.EnvelopeHeader(channel="scan/demo", pid="p", inc=1, una=1, pseq=1), [EVENT, EVENT]
)


@dataclass(frozen=True, slots=True)
class Decoder:
    """One decoder.

    Attributes:
        read: takes any bytes.
        raises: what it may raise of them.
        seeds: bytes it takes, or nearly.
    """

    read: Callable[[bytes], object]
    raises: tuple[type[BaseException], ...] = ()
    seeds: tuple[bytes, ...] = ()


def _adapt(name: str, part: bool, data: bytes) -> None:
    """Read an input in pieces; whatever comes out is an event that the pipeline takes."""
    adapter = open_adapter(name, part=part)
    step = 1 + data[0] if data else 1
    out = [one for at in range(0, len(data), step) for one in adapter.feed(data[at : at + step])]
    for one in out + adapter.close():
        if isinstance(one, bytes):
            check_event(one)


def _admit(data: bytes) -> None:
    for _, message, _ in admit(data).routed:
        for raw in wire.decode_envelope(message).events:
            read_event(raw)


def _post(data: bytes) -> None:
    for named in (JSON_TYPE, "application/x-ndjson"):
        for raw in read_body(data, named, "demo", 1_000).events:
            check_event(raw)
            assert b"\n" not in raw


def _hear(allowed: tuple[type[browser_actions.Action], ...], data: bytes) -> None:
    action = browser_actions.read_action(data, allowed)
    if isinstance(action, browser_actions.FilterParts):
        action.read()


def _frames(data: bytes) -> None:
    for deflate in (False, True):
        reader = WebSocketReader(16_384, deflate=deflate)
        for at in range(0, len(data), 7):
            reader.receive(data[at : at + 7])


def _of_text(read: Callable[[str], object], data: bytes) -> None:
    read(data.decode("utf-8", "replace"))


def _filter(text: str) -> None:
    for parts in (
        ([text], None, [], None),
        ([], text, [], None),
        ([], None, [text], None),
        ([], None, [], text),
    ):
        with contextlib.suppress(ValueError):
            read_filter(*parts)


def _recordings(name: str) -> tuple[bytes, ...]:
    kinds = {"nmap": "*.xml", "ndjson": "*.ndjson"}
    return tuple(path.read_bytes() for path in sorted(RECORDINGS.glob(kinds.get(name, f"{name}*"))))[:4]


_PROXIED = Access(HttpSection(hosts=["scans.example.org"], trusted_proxies=["127.0.0.1", "::1"]))


def _visit(text: str) -> None:
    """Judge requests that have this in each of the headers that say where they come from."""
    for name in ("Host", "Origin", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"):
        _PROXIED.judge({"Host": "localhost", name: text}, "127.0.0.1", "http")


def _upgrade(text: str) -> None:
    """Ask for a WebSocket with this in each of the headers that an upgrade has."""
    good = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for name in good:
        headers = {**good, name: text}

        def fields(wanted: str, headers: dict[str, str] = headers) -> list[str]:
            return [headers[wanted]] if wanted in headers else []

        if refusal("HTTP/1.1", fields) is None:
            answer(fields, None, None)


_SECRET = b"a secret of more than thirty-two bytes"
_VERIFIER = Verifier("HS256", lambda _: [_SECRET], "scanstream", "scanstream")
_CLAIMS = {"sub": "ada", "iss": "scanstream", "aud": "scanstream", "iat": 0, "exp": 1 << 40, "scans": ["a*"]}
_KEY = b"k" * 32


def _claims(data: bytes) -> None:
    """Verify a signed token that says this, whatever it is."""
    _VERIFIER.verify(jwt.PyJWS().encode(data, _SECRET, "HS256"), 0.0)


def _keys(data: bytes) -> None:
    document = json.loads(data)
    for algorithm in ("RS256", "ES256", "EdDSA"):
        usable_keys(document, algorithm)


_KEY_SET = json.dumps(
    {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "one",
            },
            {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "B" * 43, "use": "sig"},
            {"kty": "RSA", "n": "w" * 342, "e": "AQAB", "alg": "RS256"},
        ]
    }
).encode()

_MALFORMED = (MessageMalformed,)
_ACTIONS = (
    b'{"action":"filter","types":["a"],"cidr":["10.0.0.0/8"],"min_severity":"High","level":"all"}',
    b'{"action":"subscribe","scan_id":"a","since":"1:2"}',
    b'{"action":"ack","seq":3}',
)
_MESSAGES = (
    EVENT,
    ENVELOPE,
    b'F|scan/demo|{"epoch":1,"first":1,"last":1}\n[' + EVENT + b"]",
    b'H|{"type":"beacon","shard":0,"shards":4,"hash":"h","boot":"b","heads":[["scan/demo",1,1,false]]}',
    b'{"type":"head","id":1,"channel":"scan/demo","epoch":1,"seq":3}',
    b'{"type":"page","id":1,"channel":"scan/demo","epoch":1,"first":1,"last":1,"head":1,"held":true}\n[{}]',
    b'{"type":"hello","pid":"p","inc":1}',
    b'{"type":"batch","scan_id":"a","epoch":1,"seq":[1,1],"events":[{"type":"x"}]}',
    b'{"type":"stats","id":1}',
)

DECODERS: dict[str, Decoder] = {
    **{
        f"wire.{read.__name__}": Decoder(read, _MALFORMED, _MESSAGES)
        for read in (
            wire.decode_beacon,
            wire.decode_browser_message,
            wire.decode_edge_reply,
            wire.decode_edge_request,
            wire.decode_envelope,
            wire.decode_feedback,
            wire.decode_frame,
            wire.decode_history_reply,
            wire.decode_history_request,
            wire.decode_ingest_message,
            wire.decode_producer_message,
            wire.split_events,
        )
    },
    "event": Decoder(check_event, (EventRejected,), (EVENT,)),
    "admission": Decoder(_admit, (), (EVENT, ENVELOPE, b'{"scan_id":"a","type":"x"}\n' * 2)),
    "posted_body": Decoder(_post, (BodyRefused,), (EVENT, b"[" + EVENT + b"]", EVENT + b"\n" + EVENT)),
    "unpack": Decoder(partial(unpack, max_bytes=10_000), (BodyRefused,), (gzip.compress(EVENT, mtime=0),)),
    "media_type": Decoder(
        partial(_of_text, media_type), (BodyRefused,), (b"application/json; charset=utf-8",)
    ),
    "actions_of_one": Decoder(
        partial(_hear, browser_actions.ACTIONS_OF_ONE), (browser_actions.BadAction, ValueError), _ACTIONS
    ),
    "actions_of_several": Decoder(
        partial(_hear, browser_actions.ACTIONS_OF_SEVERAL), (browser_actions.BadAction, ValueError), _ACTIONS
    ),
    "token": Decoder(browser_actions.read_token, (), (b'{"action":"refresh","token":"a.b.c"}',)),
    "web_socket": Decoder(_frames, (), (b"\x81\x82\x00\x00\x00\x00hi", b"\xc1\x83\x01\x02\x03\x04abc")),
    "filter": Decoder(partial(_of_text, _filter), (), (b"10.0.0.0/8,::1", b"portFound", b"High", b"all")),
    "since": Decoder(partial(_of_text, read_since), (ValueError,), (b"1:2", b"start")),
    "after": Decoder(partial(_of_text, read_after), (ValueError,), (b"1-2-3",)),
    "epoch": Decoder(partial(_of_text, read_epoch), (ValueError,), (b"12",)),
    "reference": Decoder(partial(_of_text, partial(read_reference, "with")), (ValueError,), (b"demo@12",)),
    "visit": Decoder(
        partial(_of_text, _visit), (), (b'for="[::1]:80";proto=https, for=10.0.0.1', b"https://localhost:80")
    ),
    "upgrade": Decoder(
        partial(_of_text, _upgrade), (), (b"keep-alive, Upgrade", b"AAAAAAAAAAAAAAAAAAAAAA==")
    ),
    "compression": Decoder(
        partial(_of_text, agree),
        (),
        (b"permessage-deflate; server_max_window_bits=10; client_max_window_bits",),
    ),
    "accept_encoding": Decoder(partial(_of_text, takes_gzip), (), (b"br;q=1, gzip;q=0.5",)),
    "jwt": Decoder(
        partial(_of_text, lambda text: _VERIFIER.verify(text, 0.0)),
        (TokenRejected,),
        (mint(_SECRET, "HS256", _CLAIMS).encode(), b"e30.e30.e30"),
    ),
    "claims": Decoder(_claims, (TokenRejected,), (json.dumps(_CLAIMS).encode(),)),
    "key_set": Decoder(_keys, (ValueError, RecursionError), (_KEY_SET,)),
    "ticket": Decoder(
        partial(_of_text, lambda text: read_ticket(_KEY, text, "stats", 0.0)),
        (TokenRejected,),
        (issue(_KEY, "a" * 32, "stats", 1.0, Identity("ada")).encode(), b"e30.AAAA"),
    ),
    "spool": Decoder(read_spool, (ValueError,), (b'{"spool":1,"pid":"p","inc":1}\n',)),
    "replay": Decoder(
        read_line, (EventRejected,), (b'{"channel":"scan/a","epoch":1,"seq":1,"event":{"type":"x"}}',)
    ),
    **{
        f"adapter.{name}{'.part' * part}": Decoder(
            partial(_adapt, name, part), (OperatorError,) * part, _recordings(name)
        )
        for name in ADAPTER_NAMES
        for part in (False, True)
    },
}
