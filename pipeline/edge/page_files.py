"""The dashboard's files as they are served: named by what is in all of them, and compressed once. Pure.

Sits between the files, read once at the start, and the requests for them. Knows no disk and no HTTP server.

| asked for             | what is given                                                               |
|-----------------------|-----------------------------------------------------------------------------|
| `/`                   | the page, `static/` in it as `static/DIGEST/`; revalidated at each load     |
| `/static/DIGEST/NAME` | the file, for good: who has it never asks again                             |
| `/static/OTHER/NAME`  | the present file, revalidated: the page is of an edge of another version    |
| `/static/NAME`        | the present file, revalidated: an address that stays, for pages of others   |

The page itself needs two of them, which hold the others: see `page_joining`. A module that is asked for by
itself imports the next under the digest under which it was asked for, for its imports are relative.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

INDEX = "index.html"

_ASKED = re.compile(r"(?:([0-9a-f]{16})/)?([^/]+)")
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "ts": "text/plain; charset=utf-8",
}
_REFERENCE = re.compile(rb'( (?:href|src)="static/)')


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file, in both forms.

    Attributes:
        media_type: the value of `Content-Type`.
        plain: what is in it.
        packed: the same as gzip; None when that is not smaller.
    """

    media_type: str
    plain: bytes
    packed: bytes | None


class PageFiles:
    """All files of the dashboard.

    Args:
        contents: name -> what is in the file; `index.html` is among them.

    Attributes:
        digest: stands for all of them, 16 hexadecimal digits: another one as soon as one of them is another.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        seen = sha256()
        for name, content in sorted(contents.items()):
            seen.update(f"{name}\0{len(content)}\0".encode() + content)
        self.digest = seen.hexdigest()[:16]
        self._files = {name: _file(name, content) for name, content in contents.items() if name != INDEX}
        self.index = _file(INDEX, _REFERENCE.sub(rb"\g<1>" + self.digest.encode() + b"/", contents[INDEX]))

    def find(self, path: str) -> tuple[PageFile, bool] | None:
        """Return what is asked for.

        Args:
            path: what stands behind `/static/`.

        Returns:
            (the file, whether it may be kept for good); None when there is none of that name.
        """
        asked = _ASKED.fullmatch(path)
        file = asked and self._files.get(asked[2])
        return (file, asked[1] == self.digest) if asked and file else None


def _file(name: str, content: bytes) -> PageFile:
    packed = gzip.compress(content, mtime=0)
    media_type = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return PageFile(media_type, content, packed if len(packed) < len(content) else None)


def takes_gzip(accepted: str) -> bool:
    """Return whether `Accept-Encoding` names gzip and does not rule it out; `*` alone is not enough."""
    for part in accepted.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name == "gzip":
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False
