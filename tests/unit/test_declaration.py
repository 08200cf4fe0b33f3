"""What a config struct declares, and in which words a value is refused."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from pipeline.declaration import Tables, bounds_text, declared_sections, nearest, take
from tests.unit.sample_config import Access, Sample


def taken(tables: Tables) -> tuple[dict[str, dict[str, object]], list[str]]:
    """The right values of a source, and its mistakes."""
    values: dict[str, dict[str, object]] = {}
    problems: list[str] = []
    take(declared_sections(Sample), "e.toml", tables, values, problems)
    assert all("\n" not in line for line in problems)
    return values, problems


def problems(text: str) -> list[str]:
    values, found = taken(tomllib.loads(text))
    assert values == {}
    return found


# -- what is wrong with a value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[heartbeat]\nintervall_s = 1",
            "[heartbeat] intervall_s: unknown key, did you mean interval_s?",
        ),
        (
            "[batch]\nzzz = 1",
            "[batch] zzz: unknown key; there are: anything, block_bytes, max_batch_events",
        ),
        ("[heartbeet]\ninterval_s = 1", "[heartbeet]: unknown section, did you mean heartbeat?"),
        ("[zzz]", "[zzz]: unknown section; there are: access, batch, events, fine-tuning, heartbeat"),
        (
            "interval_s = 1",
            "interval_s: in no section; there are: access, batch, events, fine-tuning, heartbeat",
        ),
        ("batch = 1", "batch: must be a table, [batch]"),
        ("[[batch]]\nmax_batch_events = 1", "batch: must be a table, [batch]"),
        ("[batch]\nmax_batch_events = 0", "[batch] max_batch_events = 0: must be >= 1"),
        ("[batch]\nmax_batch_events = 1001", "[batch] max_batch_events = 1001: must be <= 1000"),
        ("[batch]\nmax_batch_events = 1.0", "[batch] max_batch_events = 1.0: must be a whole number"),
        ("[batch]\nmax_batch_events = true", "[batch] max_batch_events = true: must be a whole number"),
        ("[batch]\nmax_batch_events = '9'", '[batch] max_batch_events = "9": must be a whole number'),
        (
            "[batch]\nmax_batch_events = [1]",
            "[batch] max_batch_events = (a list): must be a whole number",
        ),
        ("[batch.max_batch_events]", "[batch] max_batch_events = (a table): must be a whole number"),
        ("[batch]\nblock_bytes = 513", "[batch] block_bytes = 513: must be a multiple of 512"),
        ("[batch]\nanything = 2020-01-02", "[batch] anything = 2020-01-02: must be a whole number"),
        ("[heartbeat]\ninterval_s = 0", "[heartbeat] interval_s = 0: must be > 0"),
        ("[heartbeat]\ninterval_s = 60.5", "[heartbeat] interval_s = 60.5: must be <= 60"),
        ("[heartbeat]\nclient_timeout_s = 3600", "[heartbeat] client_timeout_s = 3600: must be < 3600"),
        ("[heartbeat]\ninterval_s = nan", "[heartbeat] interval_s = nan: must be a finite number"),
        ("[heartbeat]\ninterval_s = inf", "[heartbeat] interval_s = inf: must be a finite number"),
        ("[heartbeat]\ninterval_s = false", "[heartbeat] interval_s = false: must be a number"),
        ("[access]\nrequired = 1", "[access] required = 1: must be true or false"),
        ("[access]\norigins = 'x'", '[access] origins = "x": must be a list'),
        ("[access]\norigins = ['x', 2]", "[access] origins[1] = 2: must be a string"),
        ("[access]\nports = [1, 0]", "[access] ports[1] = 0: must be >= 1"),
        ("[access]\nports = [1, 2, 3, 4]", "[access] ports = (a list): must be at most 3 entries"),
        ("[access]\nname = ''", '[access] name = "": must be at least 1 characters'),
        ("[access]\nname = 'A'", '[access] name = "A": must be a match of ^[a-z]+$'),
        ("[access]\nmode = 'tex'", '[access] mode = "tex": must be one of "auto", "json", "text"'),
        ("[access]\nlevel = true", "[access] level = true: must be one of 1, 2"),
        ("[access]\nlabels = {a = 1}", "[access] labels.a = 1: must be a string"),
        ("[access.weights]\n'x y' = 'z'", '[access] weights."x y" = "z": must be a number'),
        ("[access]\ngreeting = 7", "[access] greeting = 7: must be a string"),
        (
            '[batch]\n"a\\nb" = 1',
            '[batch] "a\\nb": unknown key; there are: anything, block_bytes, max_batch_events',
        ),
        (
            "[fine-tuning]\nloop_count = 1",
            "[fine-tuning] loop_count: unknown key, did you mean loop-count?",
        ),
        ("[events]\nx = 1", "[events] x = 1: must be a table"),
        ("[events]\nx = {}", "[events] x.class: is missing"),
        (
            "[events]\nx = {class = 'stat'}",
            '[events] x.class = "stat": must be one of "critical", "fact", "state"',
        ),
        ("[events]\nx = {class = 'fact', kye = ''}", "[events] x.kye: unknown key, did you mean key?"),
    ],
)
def test_one_mistake(text: str, line: str) -> None:
    assert problems(text) == [f"e.toml: {line}"]


def test_a_long_value_is_cut() -> None:
    (line,) = problems(f"[access]\nmode = '{'x' * 5000}'")
    assert len(line) < 200
    assert "xxx...: must be one of" in line


@pytest.mark.parametrize("key", ["[batch]\nanything", "[heartbeat]\ninterval_s"])
def test_a_number_of_thousands_of_bits(key: str) -> None:
    (line,) = problems(f"{key} = 0x1{'0' * 2500}")
    assert line.endswith("= (a number of 10001 bits): must be a number of at most 64 bits")


def test_a_table_nested_deeper_than_can_be_printed() -> None:
    (line,) = problems(f"[batch.anything{'.a' * 5000}]")
    assert line == "e.toml: [batch] anything = (a table): must be a whole number"


def test_what_is_right_is_taken_beside_what_is_wrong() -> None:
    batch = {"max_batch_events": 0, "block_bytes": 1024}
    values, found = taken({"batch": batch, "zzz": {}, "events": {"mine": {"class": "fact"}}})
    assert values == {"batch": {"block_bytes": 1024}, "events": {"mine": {"class": "fact"}}}
    assert len(found) == 2


def test_a_stronger_source_replaces_key_by_key() -> None:
    sections = declared_sections(Sample)
    values: dict[str, dict[str, object]] = {"batch": {"anything": 1, "block_bytes": 512}}
    take(sections, "flag", {"batch": {"anything": 2}}, values, [])
    take(sections, "flag", {"batch": {"block_bytes": 3}}, values, [])
    assert values == {"batch": {"anything": 2, "block_bytes": 512}}


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("edg", ["up", "edge"], ", did you mean edge?"),
        ("x", ["up", "edge"], "; there are: edge, up"),
        ("x", ["a b"], '; there are: "a b"'),
        ("x", [], ""),
    ],
)
def test_the_nearest_name(name: str, known: list[str], text: str) -> None:
    assert nearest(name, known) == text


# -- what a struct declares


def test_sections_and_keys_in_their_order() -> None:
    sections = declared_sections(Sample)
    assert list(sections) == ["heartbeat", "batch", "access", "fine-tuning", "events"]
    assert list(sections["access"].keys) == list(Access.__struct_fields__)
    assert sections["heartbeat"].text == "How a silent reader is noticed."
    interval = sections["heartbeat"].keys["interval_s"]
    assert (interval.unit, interval.description) == ("s", "Between two pings.")
    assert (interval.default, type(interval.default)) == (5.0, float)
    assert sections["access"].keys["labels"].example == 'labels = {team = "red"}'


def test_which_keys_are_secret() -> None:
    keys = declared_sections(Sample)["access"].keys.values()
    assert [key.name for key in keys if key.secret] == ["token_secret"]


def test_free_keys_are_all_declared_alike() -> None:
    sections = declared_sections(Sample)
    events = sections["events"]
    assert (events.keys, events.text) == ({}, "Types treated otherwise.")
    assert events.find("a") is events.find("b") is events.free
    assert sections["batch"].find("a") is None


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        ("heartbeat", "interval_s", "> 0, <= 60"),
        ("batch", "block_bytes", "a multiple of 512"),
        ("batch", "anything", ""),
        ("access", "ports", "at most 3 entries, each >= 1, each <= 65535"),
        ("access", "name", "at least 1 characters, a match of ^[a-z]+$"),
        ("access", "mode", 'one of "auto", "json", "text"'),
    ],
)
def test_bounds_as_text(section: str, key: str, text: str) -> None:
    assert bounds_text(declared_sections(Sample)[section].keys[key].kind) == text


def test_a_field_that_is_no_section_is_refused() -> None:
    class Config(msgspec.Struct, frozen=True):
        number: int = 1

    with pytest.raises(TypeError, match=r"Config\.number: a section is a struct or a dict"):
        declared_sections(Config)


@pytest.mark.parametrize("kind", [bytes, int | None, list[int | str], dict[str, set[int]]])
def test_a_type_toml_cannot_say_is_refused(kind: object) -> None:
    section = msgspec.defstruct("Section", [("key", kind, None)], frozen=True)
    config = msgspec.defstruct("Config", [("section", section, section())], frozen=True)
    with pytest.raises(TypeError, match=r"^key: a key cannot be of the type"):
        declared_sections(config)
