"""Strict configuration: TOML, environment and flags in, one frozen struct out; the struct as TOML again.

A process declares its configuration as a `msgspec.Struct` whose fields are its sections, and a section as a
struct whose fields are its keys, each once, with default, bounds, unit and text. `declaration` reads that and
checks values against it; this file finds the values, loads and prints them. `configs/` and `docs/` are tested
against it. It knows no process and no key.

=================== ===================================================================================
where a value is    flag > `PIPELINE_SECTION__KEY` > file > profile > default, key by key
what is checked     every source wholly, also where a stronger one covers it
unknown name        an error with the nearest one; only what is plainly another stage's is passed by
mistakes            all of them at once, one line each: source, section, key, value, limit
secrets             never shown, neither in an error nor by :func:`to_toml`
=================== ===================================================================================

A key's text, unit and bounds are printed as comments, and its example where the default is empty.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import inspect as kinds

from pipeline.declaration import (
    MASK,
    Declared,
    Section,
    Tables,
    bare,
    bounds_text,
    declared_sections,
    nearest,
    take,
)
from pipeline.errors import ConfigError
from pipeline.toml_text import assignments, comment, toml_key, toml_value

__all__ = ["MASK", "PROFILES_DIR", "STAGES", "Key", "default_toml", "keys", "load", "to_toml"]

PROFILES_DIR = Path(__file__).parent / "profiles"
"""Where a profile given by name is looked for."""

STAGES = ("ingest", "throttle-batch", "edge", "notify", "up")
"""The stages a profile may have tables for."""

MAX_FILE_BYTES = 1_048_576
"""The largest configuration file that is read."""

T = TypeVar("T", bound=msgspec.Struct)


class Key(NamedTuple):
    """One declared key, as the documentation shows it.

    `key` is `*` for a section with free keys. `default` is as TOML has it: a bool, number, str, list or
    dict. `unit`, `description` and `bounds` are text, empty where there is none.
    """

    section: str
    key: str
    default: object
    unit: str
    description: str
    bounds: str


def load(
    cls: type[T],
    stage: str,
    *,
    path: Path | None,
    profile: str | None,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    siblings: Callable[[], Iterable[type[msgspec.Struct]]] = tuple,
) -> T:
    """Return a stage's configuration from everything that has a say in it.

    Args:
        cls: the stage's config struct; every field has a default. If it has a method
            `problems() -> list[str]`, the lines that returns are mistakes too; it is asked once every single
            value is right.
        stage: the stage's name: the first part of its tables in a profile.
        path: a TOML file of `[section]` tables, or None.
        profile: the name of a file in `PROFILES_DIR`, or a path that ends in `.toml`; None for no profile.
        flags: "section.key" -> value; None, and the empty tuple of a repeatable flag, count as not given.
        environ: the environment. A value is read as TOML, and as a plain string if it is none or the key
            wants a string. A variable whose section this stage does not have is another stage's.
        siblings: returns the other stages' config structs: a variable for a key that one of them has is
            theirs, and no mistake. Called only when there is such a variable.

    Raises:
        ConfigError: with every mistake found, one line each.
    """
    sections = declared_sections(cls)
    problems: list[str] = []
    values: dict[str, dict[str, object]] = {}
    if profile is not None:
        tables = _profile_tables(profile, stage, problems)
        take(sections, f"{_profile_source(profile)}, {stage}", tables, values, problems)
    if path is not None:
        take(sections, str(path), _read_toml(path, str(path), problems), values, problems)
    for variable, tables in _environment_tables(sections, environ, siblings, problems):
        take(sections, variable, tables, values, problems)
    take(sections, "command line", _flag_tables(flags), values, problems)
    if problems:
        raise ConfigError(problems)
    try:
        config = msgspec.convert(values, cls)
    except msgspec.ValidationError as error:  # what only the struct can know: its __post_init__
        raise ConfigError([f"{stage}: {error}"]) from None
    across: Callable[[], list[str]] | None = getattr(config, "problems", None)
    if across is not None and (found := across()):
        raise ConfigError([f"{stage}: {line}" for line in found])
    return config


def default_toml(cls: type[msgspec.Struct], stage: str, header: str) -> str:
    """Return every key of a stage with its default, under a comment with its text, unit and bounds.

    Args:
        cls: the stage's config struct.
        stage: its name.
        header: what the configuration is of; stands at the top behind the name.

    Returns:
        TOML that loads as exactly `cls()`; comments are at most 100 columns wide.
    """
    lines = [
        *comment(f"{stage}: {header}"),
        "#",
        *comment(
            "Every key, with its default. What counts, strongest first: a flag, the environment variable "
            "PIPELINE_SECTION__KEY, this file, a profile, the default."
        ),
    ]
    for section in declared_sections(cls).values():
        lines += ["", *comment(section.text), f"[{toml_key(section.name)}]"]
        if section.free:
            lines += _example(section.free)
            lines += assignments(section.free.default) if isinstance(section.free.default, dict) else []
        for index, declared in enumerate(section.keys.values()):
            lines += [""] if index else []
            lines += [*_explain(declared), *_example(declared)]
            lines.append(f"{toml_key(declared.name)} = {toml_value(declared.default)}")
    return "\n".join(lines) + "\n"


def to_toml(config: msgspec.Struct) -> str:
    """Return a configuration's values as TOML without comments; a secret that is set shows as `MASK`."""
    tables = msgspec.to_builtins(config)
    lines: list[str] = []
    for section in declared_sections(type(config)).values():
        shown = {}
        for key, value in tables[section.name].items():
            declared = section.find(key)
            shown[key] = MASK if value and declared and declared.secret else value
        lines += ["", f"[{toml_key(section.name)}]", *assignments(shown)]
    return "\n".join(lines[1:]) + "\n"


def keys(cls: type[msgspec.Struct]) -> list[Key]:
    """Return every key a config struct declares, in the order of declaration."""
    found = []
    for section in declared_sections(cls).values():
        declared = {"*": section.free} if section.free else section.keys
        for name, one in declared.items():
            text = bounds_text(one.kind)
            found.append(Key(section.name, name, one.default, one.unit, one.description, text))
    return found


def _explain(declared: Declared) -> list[str]:
    bounds = bounds_text(declared.kind)
    facts = (
        f"Unit: {declared.unit}." if declared.unit else "",
        f"Bounds: {bounds}." if bounds else "",
        "Secret: never shown." if declared.secret else "",
    )
    return comment(declared.description) + comment(" ".join(fact for fact in facts if fact))


def _example(declared: Declared) -> list[str]:
    if declared.default or not declared.example:
        return []
    return ["# Example:", *(f"# {line}" for line in declared.example.splitlines())]


# Where values come from. Each source is given as tables: section -> key -> value.


def _profile_source(profile: str) -> str:
    return profile if profile.endswith(".toml") else f"profile {profile}"


def _profile_tables(profile: str, stage: str, problems: list[str]) -> Tables:
    source, path = _profile_source(profile), Path(profile)
    if not profile.endswith(".toml"):
        names = sorted(found.stem for found in PROFILES_DIR.glob("*.toml"))
        if profile not in names:
            problems.append(f"{source}: no such profile{nearest(profile, names)}")
            return {}
        path = PROFILES_DIR / f"{profile}.toml"
    stages = _read_toml(path, source, problems)
    known = {*STAGES, stage}
    problems += [
        f"{source}: [{toml_key(name)}]: unknown stage{nearest(name, known)}"
        for name in stages
        if name not in known
    ]
    tables = stages.get(stage, {})
    if isinstance(tables, dict):
        return tables
    problems.append(f"{source}: {toml_key(stage)}: must be a table of sections")
    return {}


def _read_toml(path: Path, source: str, problems: list[str]) -> Tables:
    text = ""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            problems.append(f"{source}: larger than {MAX_FILE_BYTES} bytes")
            return {}
        text = raw.decode()
        return tomllib.loads(text)
    except OSError as error:
        problems.append(f"{source}: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{source}: not UTF-8 at byte {error.start}")
    except RecursionError:
        problems.append(f"{source}: nested too deeply to be read")
    except ValueError as error:  # not only TOMLDecodeError: a number of too many digits, a day no month has
        last = f"at line {text.count(chr(10)) + 1}, the end of the file"
        problems.append(f"{source}: not TOML: {error}".replace("at end of document", last))
    return {}


def _environment_tables(
    sections: Mapping[str, Section],
    environ: Mapping[str, str],
    siblings: Callable[[], Iterable[type[msgspec.Struct]]],
    problems: list[str],
) -> Iterator[tuple[str, Tables]]:
    by_variable = {_variable(name): section for name, section in sections.items()}
    for variable in sorted(environ):
        head, separator, tail = variable.partition("__")
        section = by_variable.get(head)
        if section is None or not separator:
            continue
        if section.free:
            problems.append(f"{variable}: [{section.name}] can be set in a file only")
            continue
        key = next((key for key in section.keys if _upper(key) == tail), tail.lower())
        declared = section.find(key)
        if declared is None and any(_has_key(sibling, section.name, tail) for sibling in siblings()):
            continue
        value = _environment_value(environ[variable], declared.kind) if declared else None
        yield variable, {section.name: {key: value}}


def _has_key(cls: type[msgspec.Struct], section: str, upper_key: str) -> bool:
    found = declared_sections(cls).get(section)
    return found is not None and any(_upper(key) == upper_key for key in found.keys)


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def _variable(section: str) -> str:
    return f"PIPELINE_{_upper(section)}"


def _environment_value(text: str, kind: kinds.Type) -> object:
    kind = bare(kind)
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    wants_text = isinstance(kind, kinds.StrType) or (
        isinstance(kind, kinds.LiteralType) and all(isinstance(value, str) for value in kind.values)
    )
    if len(parsed) != 1 or (wants_text and not isinstance(parsed["value"], str)):
        return text
    return parsed["value"]


def _flag_tables(flags: Mapping[str, object]) -> Tables:
    tables: dict[str, dict[str, object]] = {}
    for name, given in flags.items():
        if given is None or given == ():
            continue
        section, _, key = name.partition(".")
        value = list(given) if isinstance(given, tuple) else given
        tables.setdefault(section, {})[key] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return tables
