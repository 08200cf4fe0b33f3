"""What TOML says, written: values, keys and comments, each on a line of its own. Pure.

Under `declaration`, which quotes values in its messages, and `settings`, which prints whole files. Knows no
configuration.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

import msgspec

_MAX_SHOWN = 80
_COMMENT_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def toml_value(value: object) -> str:
    """Return a value as TOML has it, on one line.

    Args:
        value: what TOML can say: a bool, number, str, list or dict, nested as may be. A lone surrogate, which
            TOML cannot say, becomes `?`.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return msgspec.json.encode(encodable(value)).decode().replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(assignments(value))}}}"
    return str(value)


def assignments(table: Mapping[str, object]) -> list[str]:
    """Return `key = value` for each entry of a table, one line each, in its order."""
    return [f"{toml_key(key)} = {toml_value(value)}" for key, value in table.items()]


def toml_key(name: str) -> str:
    """Return a key as TOML has it: bare where it may be, else quoted."""
    return name if _BARE_KEY.match(name) else toml_value(name)


def encodable(text: str) -> str:
    """Return `text` with `?` for each character that UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode()  # an argument's stray bytes are lone surrogates here


def shown(value: object) -> str:
    """Return a value for a message.

    Returns:
        The value as TOML, cut to 80 characters and `...`; of a list, a table or a number of over 64 bits only
        what it is.
    """
    if isinstance(value, list | dict):  # a table may be nested deeper than could be printed
        return f"({'a list' if isinstance(value, list) else 'a table'})"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"(a number of {value.bit_length()} bits)"
    text = toml_value(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def comment(text: str) -> list[str]:
    """Return `text` as comment lines of at most 100 columns, broken at spaces only; none for no text."""
    lines = textwrap.wrap(text, _COMMENT_WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]
