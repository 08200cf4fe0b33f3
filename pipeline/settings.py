"""Strict configuration: TOML, environment and flags in, one frozen struct out; the struct as TOML again.

A process declares its configuration as a `msgspec.Struct` whose fields are its sections, and a section as a
struct whose fields are its keys, each once, with default, bounds, unit and text. From that declaration this
file loads, checks and prints; `configs/` and `docs/` are tested against it. It knows no process and no key.

=================== ===================================================================================
where a value is    flag > `PIPELINE_SECTION__KEY` > file > profile > default, key by key
what is checked     every source wholly, also where a stronger one covers it
unknown name        an error with the nearest one; only what is plainly another stage's is passed by
mistakes            all of them at once, one line each: source, section, key, value, limit
secrets             never shown, neither in an error nor by :func:`to_toml`
=================== ===================================================================================

A key is a bool, int, float, str, Literal, a list of these, or a `dict[str, X]` with X one of these or a small
struct. A field of the config that is itself a `dict[str, X]` is a section with free keys. `Meta.extra` may
say `unit` (text), `secret` (True) and `example` (TOML lines as they would stand in the section; printed as a
comment where the default is empty).
"""

from __future__ import annotations

import difflib
import math
import operator
import os
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import inspect as kinds

from pipeline.errors import ConfigError

PROFILES_DIR = Path(__file__).parent / "profiles"
"""Where a profile given by name is looked for."""

STAGES = ("ingest", "throttle-batch", "edge", "up")
"""The stages a profile may have tables for."""

MASK = "********"
"""What stands where a secret would."""

_MAX_SHOWN = 80
_COMMENT_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")

_COMPARISONS: tuple[tuple[str, Callable[[Any, Any], bool]], ...] = (  # called as (limit, value)
    (">", operator.lt),
    (">=", operator.le),
    ("<", operator.gt),
    ("<=", operator.ge),
)
_TOML_TYPES: Mapping[type[kinds.Type], tuple[tuple[type, ...], str]] = {
    kinds.BoolType: ((bool,), "true or false"),
    kinds.IntType: ((int,), "a whole number"),
    kinds.FloatType: ((int, float), "a number"),
    kinds.StrType: ((str,), "a string"),
    kinds.ListType: ((list,), "a list"),
    kinds.DictType: ((dict,), "a table"),
    kinds.StructType: ((dict,), "a table"),
}

T = TypeVar("T", bound=msgspec.Struct)
Tables: TypeAlias = Mapping[str, object]
Bound: TypeAlias = tuple[str, Callable[[Any], bool]]  # asked only of a value whose type is right


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


class _Declared(msgspec.Struct, frozen=True):
    name: str
    kind: kinds.Type
    default: object
    unit: str
    description: str
    example: str
    secret: bool


class _Section(msgspec.Struct, frozen=True):
    name: str
    text: str
    keys: dict[str, _Declared]
    free: _Declared | None = None  # what each key is, where a section's keys are free

    def find(self, key: str) -> _Declared | None:
        return self.free or self.keys.get(key)


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
    sections = _sections(cls)
    problems: list[str] = []
    values: dict[str, dict[str, object]] = {}
    if profile is not None:
        tables = _profile_tables(profile, stage, problems)
        _take(sections, f"{_profile_source(profile)}, {stage}", tables, values, problems)
    if path is not None:
        _take(sections, str(path), _read_toml(path, str(path), problems), values, problems)
    for variable, tables in _environment_tables(sections, environ, siblings, problems):
        _take(sections, variable, tables, values, problems)
    _take(sections, "command line", _flag_tables(flags), values, problems)
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
        *_comment(f"{stage}: {header}"),
        "#",
        *_comment(
            "Every key, with its default. What counts, strongest first: a flag, the environment variable "
            "PIPELINE_SECTION__KEY, this file, a profile, the default."
        ),
    ]
    for section in _sections(cls).values():
        lines += ["", *_comment(section.text), f"[{_key(section.name)}]"]
        if section.free:
            lines += _example(section.free)
            lines += _assignments(section.free.default) if isinstance(section.free.default, dict) else []
        for index, declared in enumerate(section.keys.values()):
            lines += [""] if index else []
            lines += [*_explain(declared), *_example(declared)]
            lines.append(f"{_key(declared.name)} = {_toml(declared.default)}")
    return "\n".join(lines) + "\n"


def to_toml(config: msgspec.Struct) -> str:
    """Return a configuration's values as TOML without comments; a secret that is set shows as `MASK`."""
    tables = msgspec.to_builtins(config)
    lines: list[str] = []
    for section in _sections(type(config)).values():
        shown = {}
        for key, value in tables[section.name].items():
            declared = section.find(key)
            shown[key] = MASK if value and declared and declared.secret else value
        lines += ["", f"[{_key(section.name)}]", *_assignments(shown)]
    return "\n".join(lines[1:]) + "\n"


def keys(cls: type[msgspec.Struct]) -> list[Key]:
    """Return every key a config struct declares, in the order of declaration."""
    found = []
    for section in _sections(cls).values():
        declared = {"*": section.free} if section.free else section.keys
        for name, one in declared.items():
            text = _bounds_text(one.kind)
            found.append(Key(section.name, name, one.default, one.unit, one.description, text))
    return found


# What a struct declares.


def _sections(cls: type[msgspec.Struct]) -> dict[str, _Section]:
    defaults = msgspec.to_builtins(cls())
    declaration = kinds.type_info(cls)
    assert isinstance(declaration, kinds.StructType)
    found = {}
    for field in declaration.fields:
        name, kind = field.encode_name, _bare(field.type)
        if isinstance(kind, kinds.StructType):
            inner = {key.encode_name: _declared(key, defaults[name][key.encode_name]) for key in kind.fields}
            found[name] = _Section(name, " ".join((kind.cls.__doc__ or "").split("\n\n")[0].split()), inner)
        elif isinstance(kind, kinds.DictType):
            free = _declared(field, defaults[name])
            each = msgspec.structs.replace(free, kind=kind.value_type)
            found[name] = _Section(name, free.description, {}, each)
        else:
            raise TypeError(f"{cls.__name__}.{field.name}: a section is a struct or a dict")
    return found


def _declared(field: kinds.Field, default: object) -> _Declared:
    _check_supported(field.type, field.name)
    annotated = field.type if isinstance(field.type, kinds.Metadata) else kinds.Metadata(field.type)
    extra, schema = annotated.extra or {}, annotated.extra_json_schema or {}
    if isinstance(default, int) and isinstance(_bare(field.type), kinds.FloatType):
        default = float(default)
    return _Declared(
        name=field.encode_name,
        kind=field.type,
        default=default,
        unit=extra.get("unit", ""),
        description=schema.get("description", ""),
        example=extra.get("example", ""),
        secret=_has_secret(field.type),
    )


def _bare(kind: kinds.Type) -> kinds.Type:
    while isinstance(kind, kinds.Metadata):
        kind = kind.type
    return kind


def _parts(kind: kinds.Type) -> list[kinds.Type]:
    kind = _bare(kind)
    if isinstance(kind, kinds.StructType):
        return [field.type for field in kind.fields]
    if isinstance(kind, kinds.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, kinds.ListType) else []


def _check_supported(kind: kinds.Type, name: str) -> None:
    if not isinstance(_bare(kind), kinds.LiteralType) and type(_bare(kind)) not in _TOML_TYPES:
        raise TypeError(f"{name}: a key cannot be of the type {_bare(kind)!r}")
    for part in _parts(kind):
        _check_supported(part, name)


def _has_secret(kind: kinds.Type) -> bool:
    if isinstance(kind, kinds.Metadata) and (kind.extra or {}).get("secret", False):
        return True
    return any(_has_secret(part) for part in _parts(kind))


# Where values come from. Each source is given as tables: section -> key -> value.


def _profile_source(profile: str) -> str:
    return profile if profile.endswith(".toml") else f"profile {profile}"


def _profile_tables(profile: str, stage: str, problems: list[str]) -> Tables:
    source, path = _profile_source(profile), Path(profile)
    if not profile.endswith(".toml"):
        names = sorted(found.stem for found in PROFILES_DIR.glob("*.toml"))
        if profile not in names:
            problems.append(f"{source}: no such profile{_nearest(profile, names)}")
            return {}
        path = PROFILES_DIR / f"{profile}.toml"
    stages = _read_toml(path, source, problems)
    known = {*STAGES, stage}
    problems += [
        f"{source}: [{_key(name)}]: unknown stage{_nearest(name, known)}"
        for name in stages
        if name not in known
    ]
    tables = stages.get(stage, {})
    if isinstance(tables, dict):
        return tables
    problems.append(f"{source}: {_key(stage)}: must be a table of sections")
    return {}


def _read_toml(path: Path, source: str, problems: list[str]) -> Tables:
    text = ""
    try:
        text = path.read_bytes().decode()
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
    sections: Mapping[str, _Section],
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
    found = _sections(cls).get(section)
    return found is not None and any(_upper(key) == upper_key for key in found.keys)


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def _variable(section: str) -> str:
    return f"PIPELINE_{_upper(section)}"


def _environment_value(text: str, kind: kinds.Type) -> object:
    kind = _bare(kind)
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


# What is wrong with a value.


def _take(
    sections: Mapping[str, _Section],
    source: str,
    tables: Tables,
    values: dict[str, dict[str, object]],
    problems: list[str],
) -> None:
    """Lay a source's right values over `values`, and add its mistakes to `problems`."""
    for name, table in tables.items():
        section = sections.get(name)
        if section is None:
            where = (
                f"[{_key(name)}]: unknown section"
                if isinstance(table, dict)
                else f"{_key(name)}: in no section"
            )
            problems.append(f"{source}: {where}{_nearest(name, sections)}")
            continue
        if not isinstance(table, dict):
            problems.append(f"{source}: {_key(name)}: must be a table, [{_key(name)}]")
            continue
        for key, value in table.items():
            where, declared = f"[{_key(name)}] {_key(key)}", section.find(key)
            if declared is None:
                problems.append(f"{source}: {where}: unknown key{_nearest(key, section.keys)}")
            elif found := [f"{source}: {line}" for line in _mistakes(declared, declared.kind, value, where)]:
                problems += found
            else:
                values.setdefault(name, {})[key] = value


def _mistakes(declared: _Declared, kind: kinds.Type, value: object, where: str) -> Iterator[str]:
    kind = _bare(kind)
    wrong = _violated(kind, value)
    if wrong:
        yield f"{where} = {MASK if declared.secret else _shown(value)}: must be {wrong}"
    elif isinstance(kind, kinds.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mistakes(declared, kind.item_type, item, f"{where}[{index}]")
    elif isinstance(kind, kinds.DictType) and isinstance(value, dict):
        for name, item in value.items():
            yield from _mistakes(declared, kind.value_type, item, f"{where}.{_key(name)}")
    elif isinstance(kind, kinds.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in kind.fields}
        for name in fields:
            if name not in value and fields[name].required:
                yield f"{where}.{name}: is missing"
        for name, item in value.items():
            if name in fields:
                yield from _mistakes(declared, fields[name].type, item, f"{where}.{name}")
            else:
                yield f"{where}.{_key(name)}: unknown key{_nearest(name, fields)}"


def _violated(kind: kinds.Type, value: object) -> str | None:
    """Return what `value` must be and is not, or None; of a container only its type and length count."""
    accepted, text = _TOML_TYPES.get(type(kind), ((type(value),), ""))
    if type(value) not in accepted:
        return text
    if isinstance(value, int) and value.bit_length() > 63:
        return "a number of at most 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, str) and value != _encodable(value):
        return "valid Unicode"
    return next((text for text, holds in _bounds(kind) if not holds(value)), None)


def _bounds(kind: kinds.Type) -> list[Bound]:
    """Return the bounds of a type itself, not of what it contains: each as text, and as a test."""
    kind = _bare(kind)
    found: list[Bound] = []
    if isinstance(kind, kinds.IntType | kinds.FloatType):
        limits = (kind.gt, kind.ge, kind.lt, kind.le)
        for (symbol, compare), limit in zip(_COMPARISONS, limits, strict=True):
            if limit is not None:
                found.append((f"{symbol} {_toml(limit)}", partial(compare, limit)))
        if (unit := kind.multiple_of) is not None:
            found.append((f"a multiple of {_toml(unit)}", lambda value: value % unit == 0))
    elif isinstance(kind, kinds.LiteralType):
        choices = [(type(value), value) for value in kind.values]
        text = "one of " + ", ".join(_toml(value) for value in kind.values)
        found.append((text, lambda value: (type(value), value) in choices))
    elif isinstance(kind, kinds.StrType | kinds.ListType | kinds.DictType):
        counted = "characters" if isinstance(kind, kinds.StrType) else "entries"
        least, most = kind.min_length, kind.max_length
        if least is not None:
            found.append((f"at least {least} {counted}", lambda value: len(value) >= least))
        if most is not None:
            found.append((f"at most {most} {counted}", lambda value: len(value) <= most))
        if isinstance(kind, kinds.StrType) and kind.pattern is not None:
            pattern = re.compile(kind.pattern)
            found.append((f"a match of {kind.pattern}", lambda value: pattern.search(value) is not None))
    return found


def _bounds_text(kind: kinds.Type) -> str:
    kind = _bare(kind)
    texts = [text for text, _ in _bounds(kind)]
    if isinstance(kind, kinds.ListType):
        texts += [f"each {text}" for text, _ in _bounds(kind.item_type)]
    return ", ".join(texts)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f", did you mean {_key(near[0])}?"
    return f"; there are: {', '.join(map(_key, names))}" if names else ""


# TOML text.


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return msgspec.json.encode(_encodable(value)).decode().replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(_assignments(value))}}}"
    return str(value)


def _assignments(table: Mapping[str, object]) -> list[str]:
    return [f"{_key(key)} = {_toml(value)}" for key, value in table.items()]


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else _toml(name)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # an argument's stray bytes are lone surrogates here


def _shown(value: object) -> str:
    if isinstance(value, list | dict):  # a table may be nested deeper than could be printed
        return f"({'a list' if isinstance(value, list) else 'a table'})"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"(a number of {value.bit_length()} bits)"
    text = _toml(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _comment(text: str) -> list[str]:
    lines = textwrap.wrap(text, _COMMENT_WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def _explain(declared: _Declared) -> list[str]:
    bounds = _bounds_text(declared.kind)
    facts = (
        f"Unit: {declared.unit}." if declared.unit else "",
        f"Bounds: {bounds}." if bounds else "",
        "Secret: never shown." if declared.secret else "",
    )
    return _comment(declared.description) + _comment(" ".join(fact for fact in facts if fact))


def _example(declared: _Declared) -> list[str]:
    if declared.default or not declared.example:
        return []
    return ["# Example:", *(f"# {line}" for line in declared.example.splitlines())]
