"""The command lines of tools: what `emit --run` adds, which targets they name, what may be a secret. Pure.

Knows tools' options, starts nothing. What is not known of a command line is left as it is; what may be a
secret is left out rather than shown.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from pipeline.producer.adapters.nmap_scripts import MASK

MAX_TARGETS = 100
"""How many targets of a command line are taken."""
MAX_TARGET = 255
"""Characters of a target; a longer one is cut."""

_WRAPPERS = frozenset(
    {"sudo", "doas", "env", "nice", "ionice", "stdbuf", "timeout", "proxychains", "proxychains4"}
)
_LIST_OPTIONS = {
    "nuclei": ("u", "target"),
    "naabu": ("host",),
    "httpx": ("u", "target"),
    "masscan": ("range",),
}
_NMAP_TAKES_VALUE = frozenset(
    {
        *("iL", "iR", "oN", "oX", "oG", "oS", "oM", "oA", "oH", "p", "e", "S", "g", "D", "b", "m"),
        *("M", "T", "script", "script-args", "script-args-file", "script-help", "script-timeout"),
        *("exclude", "excludefile", "exclude-ports", "top-ports", "port-ratio", "max-retries"),
        *("host-timeout", "scan-delay", "max-scan-delay", "min-rate", "max-rate", "min-parallelism"),
        *("max-parallelism", "min-hostgroup", "max-hostgroup", "min-rtt-timeout", "max-rtt-timeout"),
        *("initial-rtt-timeout", "dns-servers", "source-port", "data", "data-string", "data-length"),
        *("ip-options", "ttl", "spoof-mac", "proxies", "proxy", "datadir", "servicedb", "versiondb"),
        *("stylesheet", "resume", "stats-every", "version-intensity", "max-os-tries", "scanflags"),
        *("mtu"),
    }
)
_MASSCAN_FLAGS = frozenset(
    {
        *("banners", "ping", "nmap", "open-only", "open", "append-output", "nobacktrace", "offline"),
    }
)
_ADDRESS = re.compile(r"[0-9a-fA-F:.]*[.:][0-9a-fA-F:./,-]*\Z")

_SECRET_NAME = re.compile(
    r"pass|pwd|token|secret|auth|cred|cookie|header|key|script-args|prox|user|session|\Avar\Z|\AV\Z|\AH\Z",
    re.IGNORECASE,
)
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)(=.*)?\Z", re.DOTALL)
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.+)\Z", re.DOTALL)
_ATTACHED_HEADER = re.compile(r"-H.+\Z", re.DOTALL)
_HEADER = re.compile(r"(authorization|cookie|x-api-key|[a-z-]*token)\s*:|\b(bearer|basic)\s", re.IGNORECASE)
_IN_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]+@")
_IN_QUERY = re.compile(r"([?&;][\w.-]*(?:token|key|secret|pass|auth|sig)[\w.-]*=)[^&;#\s]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ToolCommand:
    """What is run, and what is said of it.

    Attributes:
        tool: the tool's name, such as `nmap`; the program's own for one that is not known.
        source: the adapter that reads it; None where its name does not tell.
        arguments: the whole command line, completed.
        added: what was added to it.
        shown: the command line with `MASK` for what may be a secret.
        left_out: the options whose values are not shown.
        targets: what it scans, as far as its command line names it.
    """

    tool: str
    source: str | None
    arguments: tuple[str, ...]
    added: tuple[str, ...]
    shown: str
    left_out: tuple[str, ...]
    targets: tuple[str, ...]


def tool_command(arguments: Sequence[str]) -> ToolCommand:
    """Complete a command line, so that what the tool prints can be read while it runs.

    Raises:
        ValueError: it sends its output where it cannot be read; says what to leave out.
    """
    at = _place_of_tool(arguments)
    tool = PurePath(arguments[at]).name
    rest = list(arguments[at + 1 :])
    added = _ADDED[tool](rest) if tool in _ADDED else []
    shown, left_out = masked(arguments)
    return ToolCommand(
        tool,
        tool if tool in _ADDED else None,
        (*arguments[: at + 1], *added, *rest),
        tuple(added),
        shown,
        tuple(left_out),
        tuple(targets_of(tool, rest)),
    )


def _place_of_tool(arguments: Sequence[str]) -> int:
    if PurePath(arguments[0]).name in _WRAPPERS:
        for index, argument in enumerate(arguments[1:], 1):
            if PurePath(argument).name in _ADDED:
                return index
    return 0


def _has(arguments: Sequence[str], *names: str) -> bool:
    return any(found and found[1] in names for found in map(_OPTION.match, arguments))


def _value_of(arguments: Sequence[str], option: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == option:
            return arguments[index + 1] if index + 1 < len(arguments) else ""
    return None


def _added_to_nmap(arguments: list[str]) -> list[str]:
    if _has(arguments, "oA"):
        raise ValueError("emit reads nmap's XML: leave out -oA, and use -oN and -oG for files")
    added = []
    to = _value_of(arguments, "-oX")
    if to is None:
        added += ["-oX", "-"]
    elif to != "-":
        raise ValueError(f"emit reads nmap's XML: leave out -oX {to}")
    if not _has(arguments, "stats-every"):
        added += ["--stats-every", "1s"]
    if not _has(arguments, "oN"):
        added += ["-oN", "/dev/stderr"]
    return added


def _added_to_masscan(arguments: list[str]) -> list[str]:
    for option in ("-oD", "-oJ", "-oL"):
        to = _value_of(arguments, option)
        if to == "-":
            return []
        if to is not None:
            raise ValueError(f"emit reads what masscan prints: leave out {option} {to}, or use {option} -")
    if _has(arguments, "oX", "oG", "oB", "oU", "output-format", "output-filename"):
        raise ValueError("emit reads what masscan prints: leave out its output options, or use -oD -")
    return ["-oD", "-"]


def _added_to_nuclei(arguments: list[str]) -> list[str]:
    wanted = (("-jsonl", "j"), ("-stats", ""), ("-stats-json", "sj"))
    return [option for option, short in wanted if not _has(arguments, option[1:], short)]


def _added_json(arguments: list[str]) -> list[str]:
    return [] if _has(arguments, "json", "j") else ["-json"]


_ADDED: dict[str, Callable[[list[str]], list[str]]] = {
    "nmap": _added_to_nmap,
    "masscan": _added_to_masscan,
    "nuclei": _added_to_nuclei,
    "naabu": _added_json,
    "httpx": _added_json,
}


def targets_of(tool: str, arguments: Sequence[str]) -> list[str]:
    """Return what a tool scans, as far as its arguments name it; at most `MAX_TARGETS`.

    Args:
        tool: its name.
        arguments: without the program itself.
    """
    found: list[str] = []
    before = ""
    for argument in arguments:
        option = _OPTION.match(argument)
        if tool in _LIST_OPTIONS:
            names = _LIST_OPTIONS[tool]
            if option and option[2] and option[1] in names:
                found += option[2][1:].split(",")
            elif before in names:
                found += argument.split(",")
        if tool == "nmap" and not argument.startswith("-") and before not in _NMAP_TAKES_VALUE:
            found.append(argument)
        if tool == "masscan" and _ADDRESS.match(argument) and (not before or before in _MASSCAN_FLAGS):
            found.append(argument)
        before = option[1] if option and not option[2] else ""
    return [_without_secret(target)[:MAX_TARGET] for target in found if target][:MAX_TARGETS]


def masked(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return a command line to be shown, and the options whose values it leaves out.

    Masks the value of each option whose name sounds like a secret, assignments to such names, headers that
    carry one, and what stands before the @ or in a query of a URL.
    """
    shown: list[str] = []
    left_out: dict[str, None] = {}
    hides = ""
    for argument in arguments:
        option = _OPTION.match(argument)
        if hides and not (option and argument.startswith("--")):
            shown.append(MASK)
            left_out[hides] = None
            hides = ""
            continue
        hides = ""
        if option and _SECRET_NAME.search(option[1]):
            name = argument.partition("=")[0]
            if option[2]:
                shown.append(f"{name}={MASK}")
                left_out[name] = None
            else:
                shown.append(name)
                hides = name
        elif _ATTACHED_HEADER.match(argument):
            shown.append(f"-H{MASK}")
            left_out["-H"] = None
        elif _HEADER.search(argument):
            shown.append(MASK)
            left_out["a header"] = None
        elif (assigned := _ASSIGNED.match(argument)) and _SECRET_NAME.search(assigned[1]):
            shown.append(f"{assigned[1]}={MASK}")
            left_out[assigned[1]] = None
        else:
            kept = _without_secret(argument)
            if kept != argument:
                left_out["a secret in a URL"] = None
            shown.append(kept)
    return " ".join(word if MASK in word else shlex.quote(word) for word in shown), list(left_out)


def _without_secret(text: str) -> str:
    return _IN_QUERY.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}@", text))
