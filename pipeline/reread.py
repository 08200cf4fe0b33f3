"""What a configuration that is read anew changes in a process that runs: SIGHUP.

A stage says which keys it takes over while it runs. What is wrong is told as at a start, and then nothing is
taken over; what needs a restart is named. Opens nothing again. Knows no stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import msgspec

from pipeline.errors import ConfigError
from pipeline.log import Log
from pipeline.sections import LIVE_LOG_KEYS

C = TypeVar("C", bound=msgspec.Struct)


def differing(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    """Return the keys, `section.key`, whose values differ, in the order of declaration."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    found = []
    for section, keys in old.items():
        names = list(dict.fromkeys([*keys, *new[section]]))
        found += [f"{section}.{key}" for key in names if keys.get(key) != new[section].get(key)]
    return found


def with_keys(before: C, after: C, keys: Collection[str]) -> C:
    """Return `before` with the values `after` has for some keys.

    Args:
        keys: `section.key` of each.
    """
    tables: dict[str, dict[str, Any]] = msgspec.to_builtins(before)
    new = msgspec.to_builtins(after)
    for name in keys:
        section, _, key = name.partition(".")
        if key in new[section]:
            tables[section][key] = new[section][key]
        else:  # one of a section with free keys
            del tables[section][key]
    return msgspec.convert(tables, type(before))


def read_anew(read: Callable[[], C], present: C, live: Collection[str], log: Log) -> C | None:
    """Read the configuration anew, and log what comes of it; the log itself follows at once.

    Args:
        read: loads it, as at the start: with the same flags, file, profile and environment.
        present: what holds until now.
        live: `section.key` of what the stage takes over; `section.*` for all of a section with free keys.
        log: told each mistake; or which keys changed, and which of them need a restart.

    Returns:
        What holds from now on, for the stage to follow; None when it is refused.
    """
    try:
        wanted = read()
        changed = differing(present, wanted)
        taken = [name for name in changed if name in live or name.partition(".")[0] + ".*" in live]
        config = with_keys(present, wanted, taken)
        problems: list[str] = getattr(config, "problems", list)()
        if problems:
            raise ConfigError([f"{line} (with what needs a restart left as it is)" for line in problems])
    except ConfigError as error:
        for problem in error.problems:
            log.error("configuration refused; the old one holds", problem=problem)
        return None
    section = getattr(config, "log", None)
    if section is not None and LIVE_LOG_KEYS & set(taken):
        log.follow(section.level, section.format)
    log.info(
        "configuration read anew",
        changed=", ".join(taken),
        needs_restart=", ".join(name for name in changed if name not in taken),
    )
    return config
