"""What a config struct declares, and what is wrong with a value that is given for it. Pure.

Between `toml_text`, which writes values, and `settings`, which finds, loads and prints them. Knows no file,
no environment and no key.

=================== ===================================================================================
a section           a field that is a struct, or a `dict[str, X]`: a section with free keys
a key               a bool, int, float, str, Literal, a list of these, or a `dict[str, X]` with X one of
                    these or a small struct
its bounds          those of `Meta`: gt, ge, lt, le, multiple_of, min_length, max_length, pattern
`Meta.extra`        `unit` (text), `secret` (True), `example` (TOML lines as they would stand in the section)
unknown name        a mistake, with the nearest name that is declared
=================== ===================================================================================
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect as kinds

from pipeline.toml_text import encodable, shown, toml_key, toml_value

MASK = "********"
"""What stands where a secret would."""

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

Tables: TypeAlias = Mapping[str, object]
"""What one source says: section -> its keys and values, not yet checked."""

_Bound: TypeAlias = tuple[str, Callable[[Any], bool]]  # asked only of a value whose type is right


class Declared(msgspec.Struct, frozen=True):
    """One key as its struct declares it.

    Attributes:
        name: as it stands in TOML.
        kind: its type with its bounds; of a section with free keys, that of each value.
        default: as TOML has it: a bool, number, str, list or dict.
        unit: text, empty where there is none; so are `description` and `example`.
        secret: it is, or something in it is.
    """

    name: str
    kind: kinds.Type
    default: object
    unit: str
    description: str
    example: str
    secret: bool


class Section(msgspec.Struct, frozen=True):
    """One section as its struct declares it.

    Attributes:
        name: as it stands in TOML.
        text: what it is for, on one line; empty where the declaration does not say.
        keys: name -> key; empty where the keys are free.
        free: what each key is, where the keys are free; else None.
    """

    name: str
    text: str
    keys: dict[str, Declared]
    free: Declared | None = None

    def find(self, key: str) -> Declared | None:
        """Return what is declared of a key, or None where there is no such key."""
        return self.free or self.keys.get(key)


# What a struct declares.


def declared_sections(cls: type[msgspec.Struct]) -> dict[str, Section]:
    """Return what a config struct declares: name -> section, in the order of declaration.

    Args:
        cls: the struct; every field has a default.

    Raises:
        TypeError: a field is no section, or a key is of a type that cannot be checked.
    """
    defaults = msgspec.to_builtins(cls())
    declaration = kinds.type_info(cls)
    assert isinstance(declaration, kinds.StructType)
    found = {}
    for field in declaration.fields:
        name, kind = field.encode_name, bare(field.type)
        if isinstance(kind, kinds.StructType):
            inner = {key.encode_name: _declared(key, defaults[name][key.encode_name]) for key in kind.fields}
            found[name] = Section(name, " ".join((kind.cls.__doc__ or "").split("\n\n")[0].split()), inner)
        elif isinstance(kind, kinds.DictType):
            free = _declared(field, defaults[name])
            each = msgspec.structs.replace(free, kind=kind.value_type)
            found[name] = Section(name, free.description, {}, each)
        else:
            raise TypeError(f"{cls.__name__}.{field.name}: a section is a struct or a dict")
    return found


def _declared(field: kinds.Field, default: object) -> Declared:
    _check_supported(field.type, field.name)
    annotated = field.type if isinstance(field.type, kinds.Metadata) else kinds.Metadata(field.type)
    extra, schema = annotated.extra or {}, annotated.extra_json_schema or {}
    if isinstance(default, int) and isinstance(bare(field.type), kinds.FloatType):
        default = float(default)
    return Declared(
        name=field.encode_name,
        kind=field.type,
        default=default,
        unit=extra.get("unit", ""),
        description=schema.get("description", ""),
        example=extra.get("example", ""),
        secret=_has_secret(field.type),
    )


def bare(kind: kinds.Type) -> kinds.Type:
    """Return a type without the text, unit and other remarks around it."""
    while isinstance(kind, kinds.Metadata):
        kind = kind.type
    return kind


def _parts(kind: kinds.Type) -> list[kinds.Type]:
    kind = bare(kind)
    if isinstance(kind, kinds.StructType):
        return [field.type for field in kind.fields]
    if isinstance(kind, kinds.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, kinds.ListType) else []


def _check_supported(kind: kinds.Type, name: str) -> None:
    if not isinstance(bare(kind), kinds.LiteralType) and type(bare(kind)) not in _TOML_TYPES:
        raise TypeError(f"{name}: a key cannot be of the type {bare(kind)!r}")
    for part in _parts(kind):
        _check_supported(part, name)


def _has_secret(kind: kinds.Type) -> bool:
    if isinstance(kind, kinds.Metadata) and (kind.extra or {}).get("secret", False):
        return True
    return any(_has_secret(part) for part in _parts(kind))


# What is wrong with a value.


def take(
    sections: Mapping[str, Section],
    source: str,
    tables: Tables,
    values: dict[str, dict[str, object]],
    problems: list[str],
) -> None:
    """Lay a source's right values over those of weaker ones, and note its mistakes.

    Args:
        sections: what is declared.
        source: what a mistake is said to be in: a path, a variable.
        tables: what the source says.
        values: section -> key -> value, of all sources so far; what is right is put in here.
        problems: one line a mistake; this source's are added. No secret stands in them.
    """
    for name, table in tables.items():
        section = sections.get(name)
        if section is None:
            where = (
                f"[{toml_key(name)}]: unknown section"
                if isinstance(table, dict)
                else f"{toml_key(name)}: in no section"
            )
            problems.append(f"{source}: {where}{nearest(name, sections)}")
            continue
        if not isinstance(table, dict):
            problems.append(f"{source}: {toml_key(name)}: must be a table, [{toml_key(name)}]")
            continue
        for key, value in table.items():
            where, declared = f"[{toml_key(name)}] {toml_key(key)}", section.find(key)
            if declared is None:
                problems.append(f"{source}: {where}: unknown key{nearest(key, section.keys)}")
            elif found := [f"{source}: {line}" for line in _mistakes(declared, declared.kind, value, where)]:
                problems += found
            else:
                values.setdefault(name, {})[key] = value


def _mistakes(declared: Declared, kind: kinds.Type, value: object, where: str) -> Iterator[str]:
    kind = bare(kind)
    wrong = _violated(kind, value)
    if wrong:
        yield f"{where} = {MASK if declared.secret else shown(value)}: must be {wrong}"
    elif isinstance(kind, kinds.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mistakes(declared, kind.item_type, item, f"{where}[{index}]")
    elif isinstance(kind, kinds.DictType) and isinstance(value, dict):
        for name, item in value.items():
            yield from _mistakes(declared, kind.value_type, item, f"{where}.{toml_key(name)}")
    elif isinstance(kind, kinds.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in kind.fields}
        for name in fields:
            if name not in value and fields[name].required:
                yield f"{where}.{name}: is missing"
        for name, item in value.items():
            if name in fields:
                yield from _mistakes(declared, fields[name].type, item, f"{where}.{name}")
            else:
                yield f"{where}.{toml_key(name)}: unknown key{nearest(name, fields)}"


def _violated(kind: kinds.Type, value: object) -> str | None:
    """Return what `value` must be and is not, or None; of a container only its type and length count."""
    accepted, text = _TOML_TYPES.get(type(kind), ((type(value),), ""))
    if type(value) not in accepted:
        return text
    if isinstance(value, int) and value.bit_length() > 63:
        return "a number of at most 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, str) and value != encodable(value):
        return "valid Unicode"
    return next((text for text, holds in _bounds(kind) if not holds(value)), None)


def _bounds(kind: kinds.Type) -> list[_Bound]:
    """Return the bounds of a type itself, not of what it contains: each as text, and as a test."""
    kind = bare(kind)
    found: list[_Bound] = []
    if isinstance(kind, kinds.IntType | kinds.FloatType):
        limits = (kind.gt, kind.ge, kind.lt, kind.le)
        for (symbol, compare), limit in zip(_COMPARISONS, limits, strict=True):
            if limit is not None:
                found.append((f"{symbol} {toml_value(limit)}", partial(compare, limit)))
        if (unit := kind.multiple_of) is not None:
            found.append((f"a multiple of {toml_value(unit)}", lambda value: value % unit == 0))
    elif isinstance(kind, kinds.LiteralType):
        choices = [(type(value), value) for value in kind.values]
        text = "one of " + ", ".join(toml_value(value) for value in kind.values)
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


def bounds_text(kind: kinds.Type) -> str:
    """Return the bounds of a type, and of a list's items, as text: `> 0, <= 60`; empty without any."""
    kind = bare(kind)
    texts = [text for text, _ in _bounds(kind)]
    if isinstance(kind, kinds.ListType):
        texts += [f"each {text}" for text, _ in _bounds(kind.item_type)]
    return ", ".join(texts)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, else all of them.

    Args:
        name: what was given.
        known: the names there are, in any order; with none of them the text is empty.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f", did you mean {toml_key(near[0])}?"
    return f"; there are: {', '.join(map(toml_key, names))}" if names else ""
