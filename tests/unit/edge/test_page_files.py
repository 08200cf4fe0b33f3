"""The dashboard's files: what is served under which address, and for how long."""

from __future__ import annotations

import gzip
import re

import pytest

from pipeline.edge.page_files import PageFiles, takes_gzip

PAGE = b"""<link rel="icon" href="static/icon.svg"><script type="module" src="static/app.js"></script>
<a href="#/static/">static/ stays in text</a>"""
APP = b'import "./part.js";\n' * 40
CONTENTS = {"index.html": PAGE, "app.js": APP, "icon.svg": b"<svg/>", "types.d.ts": b"export {};"}


def test_the_page_asks_for_its_files_under_the_digest() -> None:
    files = PageFiles(CONTENTS)
    assert re.fullmatch("[0-9a-f]{16}", files.digest)
    page = files.index.plain.decode()
    assert f'href="static/{files.digest}/icon.svg"' in page
    assert f'src="static/{files.digest}/app.js"' in page
    assert '<a href="#/static/">static/ stays in text</a>' in page
    assert files.index.media_type == "text/html; charset=utf-8"


def test_only_under_its_own_digest_is_a_file_kept_for_good() -> None:
    files = PageFiles(CONTENTS)
    found = [files.find(path) for path in (f"{files.digest}/app.js", f"{'0' * 16}/app.js", "app.js")]
    assert [each and each[1] for each in found] == [True, False, False]
    assert {each and each[0].plain for each in found} == {APP}


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "app", "APP.JS", "app.js/", "/app.js", "app.js\n", "../app.js", "./app.js", "a/app.js"),
        *("%2e%2e/app.js", f"{'0' * 15}/app.js", f"{'0' * 17}/app.js", f"{'A' * 16}/app.js"),
        *(f"{'0' * 16}/", f"{'0' * 16}//app.js", f"{'0' * 16}/{'0' * 16}/app.js", "index.html"),
    ],
)
def test_no_other_address_is_a_file(path: str) -> None:
    assert PageFiles(CONTENTS).find(path) is None


def test_the_digest_is_another_one_as_soon_as_anything_is() -> None:
    others = [
        {**CONTENTS, "app.js": APP + b" "},
        {**CONTENTS, "index.html": PAGE + b" "},
        {**CONTENTS, "more.js": b""},
        {("app2.js" if name == "app.js" else name): content for name, content in CONTENTS.items()},
        {**CONTENTS, "app.js": APP[:-1], "icon.svg": APP[-1:] + b"<svg/>"},
    ]
    digests = {PageFiles(contents).digest for contents in [CONTENTS, *others]}
    assert len(digests) == 1 + len(others)
    assert PageFiles(dict(reversed(CONTENTS.items()))).digest == PageFiles(CONTENTS).digest


def test_a_file_is_packed_where_that_is_smaller() -> None:
    files = PageFiles(CONTENTS)
    app, icon, types = (files.find(name) for name in ("app.js", "icon.svg", "types.d.ts"))
    assert app is not None
    assert app[0].packed is not None
    assert gzip.decompress(app[0].packed) == APP
    assert app[0].media_type == "text/javascript; charset=utf-8"
    assert icon is not None
    assert (icon[0].packed, icon[0].media_type) == (None, "image/svg+xml")
    assert types is not None
    assert types[0].media_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5, br", True),
        ("br, gzip;q=0", False),
        ("gzip ; q = 0.000", False),
        ("gzip;q=0.001", True),
        ("*", False),
        ("xgzip, gzipx", False),
    ],
)
def test_gzip_is_for_those_who_take_it(accepted: str, *, takes: bool) -> None:
    assert takes_gzip(accepted) is takes
