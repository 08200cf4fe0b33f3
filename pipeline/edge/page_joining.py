"""The page's modules as one file, and its style sheets as one: two requests load it, not fifty. Pure.

Used once, before anything is served. The files are plain ES modules, of which each works as it is, and is
served as it is, too; only `app.js` and `page.css`, which name all the others, have them in them instead.

===================================== ============================================================
in a module, at the start of a line   in the whole
===================================== ============================================================
`import { one, other } from "./m.js"` `const { one, other } = $m;`, after `m.js`
`export const`, `function`, `class`   without `export`; the module is a function that returns its name
anything else of `import`, `export`   refused, also modules that need each other
`@import "other.css";`                what is in that file
===================================== ============================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MODULE = "app.js"
STYLE_SHEET = "page.css"

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|(?:async )?function|class) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_STYLES = re.compile(r'^@import "([\w.]+\.css)";$', re.MULTILINE)


class CannotJoin(ValueError):
    """A file of the page is written in a way that `page_joining` does not know: a mistake in the program."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


def joined(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the same files, with the whole page in `app.js` and `page.css`, where there are such.

    Args:
        contents: name -> what is in the file.

    Raises:
        CannotJoin: a module or a style sheet cannot be put into the whole; it names the line.
    """
    whole = dict(contents)
    if MODULE in contents:
        parts: dict[str, str] = {}
        _add(MODULE, contents, parts, ())
        whole[MODULE] = "".join(parts.values()).encode()
    if STYLE_SHEET in contents:
        sheet = contents[STYLE_SHEET].decode()
        whole[STYLE_SHEET] = _STYLES.sub(lambda told: _text(told[1], STYLE_SHEET, contents), sheet).encode()
    return whole


def _add(name: str, contents: Mapping[str, bytes], parts: dict[str, str], over: tuple[str, ...]) -> None:
    """Put a module behind those it needs, once."""
    if name in parts:
        return
    if name in over:
        raise CannotJoin(name, f"needs itself, by {' -> '.join([*over, name])}")
    text = _text(name, over[-1] if over else name, contents)
    for wanted in _IMPORT.finditer(text):
        _add(wanted[2], contents, parts, (*over, name))
    exported = _EXPORT.findall(text)
    body = _EXPORT.sub("", _IMPORT.sub(lambda told: f"const {{ {told[1]} }} = {_variable(told[2])};", text))
    if (other := _OTHER.search(body)) is not None:
        raise CannotJoin(name, f"cannot be joined: {other[0]!r}")
    parts[name] = (
        f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
    )


def _text(name: str, asked_by: str, contents: Mapping[str, bytes]) -> str:
    if name not in contents:
        raise CannotJoin(asked_by, f"there is no file {name!r}")
    return contents[name].decode()


def _variable(name: str) -> str:
    return f"${name.removesuffix('.js')}"
