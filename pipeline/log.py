"""Log lines: one fact a line, on stderr, text on a terminal and JSON otherwise.

What a scan says is written by attackers: control characters are escaped and values cut, so that a banner
can neither forge a line nor drive a terminal. Never log a token or an event's payload.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any, TextIO

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
MAX_VALUE_CHARACTERS = 500
"""A longer value in a log line is cut, with a mark that it was."""


class Log:
    """Writes facts, each with fields. `bind` gives a log whose every line carries further fields."""

    def __init__(self, logger: logging.Logger, bound: dict[str, object] | None = None) -> None:
        self._logger = logger
        self._bound = bound or {}

    def bind(self, **fields: object) -> Log:
        """Return a log that adds `fields` to every line."""
        return Log(self._logger, {**self._bound, **fields})

    def follow(self, level: str, style: str) -> None:
        """Write from now on as `start_log` was told, whoever has this log or one that is bound from it."""
        start_log(self._logger.name, level, style)

    def debug(self, fact: str, **fields: object) -> None:
        """Write what only a developer wants to know."""
        self._write(logging.DEBUG, fact, fields)

    def info(self, fact: str, **fields: object) -> None:
        """Write what happened as it should."""
        self._write(logging.INFO, fact, fields)

    def warning(self, fact: str, **fields: object) -> None:
        """Write what is wrong with one peer or one message, and disturbs nobody else."""
        self._write(logging.WARNING, fact, fields)

    def error(self, fact: str, **fields: object) -> None:
        """Write what an operator has to look at."""
        self._write(logging.ERROR, fact, fields)

    def _write(self, level: int, fact: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, fact, extra={"fields": {**self._bound, **fields}})


class LimitedLog:
    """At most so many warnings a second, or minute; how many were held back stands in the next line.

    Args:
        log: where the lines go.
        most: lines in each `window_s`.
        window_s: seconds.
    """

    def __init__(self, log: Log, most: int = 10, window_s: float = 1.0) -> None:
        self._log = log
        self.most = most
        self._window_s = window_s
        self._window = -1
        self._written = 0
        self._held_back = 0

    def warning(self, fact: str, now: float, **fields: object) -> None:
        """Write a warning, or count it as held back.

        Args:
            now: monotonic seconds.
        """
        if (window := int(now // self._window_s)) != self._window:
            self._window = window
            self._written = 0
        if self._written >= self.most:
            self._held_back += 1
            return
        self._written += 1
        if self._held_back:
            fields["held_back"] = self._held_back
            self._held_back = 0
        self._log.warning(fact, **fields)


def let_go(stream: TextIO) -> None:
    """Let go of what a stream did not take, or the interpreter tries it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def escape(text: str) -> str:
    """Return `text` with every control, format and surrogate character as an escape, fit for a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def _shown(value: object) -> str:
    text = escape(str(value))
    if len(text) > MAX_VALUE_CHARACTERS:
        text = text[:MAX_VALUE_CHARACTERS] + "…"
    return text


def _traceback(formatter: logging.Formatter, error: Any) -> list[str]:
    """Return the lines of a traceback, whose last ones may repeat what somebody sent."""
    return list(map(escape, formatter.formatException(error).split("\n")))


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", {})
        parts = [f"{clock}.{int(record.msecs):03d} {record.levelname.lower():7} {record.name}"]
        parts.append(_shown(record.getMessage()))
        for name, value in fields.items():
            text = _shown(value)
            parts.append(
                f"{name}={json.dumps(text, ensure_ascii=False) if ' ' in text or not text else text}"
            )
        if record.exc_info:
            # Indented, so that no line of it can be taken for one of the log.
            parts.append("".join(f"\n    {line}" for line in _traceback(self, record.exc_info)))
        return " ".join(parts)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": record.name,
            "fact": _shown(record.getMessage()),
        }
        for name, value in getattr(record, "fields", {}).items():
            line[name] = value if isinstance(value, bool | int | float) else _shown(value)
        if record.exc_info:
            line["traceback"] = "\n".join(_traceback(self, record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def start_log(process: str, level: str, style: str, stream: TextIO | None = None) -> Log:
    """Set up logging of this process, libraries included, and return its log.

    Args:
        process: the name that stands in every line, such as `ingest-0`.
        level: one of `LEVELS`.
        style: `text`, `json`, or `auto`: text on a terminal, JSON otherwise.
        stream: where lines go; stderr unless given.
    """
    target = stream or sys.stderr
    text = style == "text" or (style == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(_TextFormatter() if text else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logger = logging.getLogger(process)
    logger.setLevel(LEVELS[level])
    return Log(logger)
