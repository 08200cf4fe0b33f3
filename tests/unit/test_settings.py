"""Configuration: what loads, what is refused and in which words, what is printed."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import settings
from pipeline.errors import ConfigError
from tests.unit.sample_config import Access, Batch, Heartbeat, Rule, Sample

Meta = msgspec.Meta


def load(
    path: Path | None = None,
    *,
    profile: str | None = None,
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
) -> Sample:
    return settings.load(Sample, "edge", path=path, profile=profile, flags=flags or {}, environ=environ or {})


def problems(path: Path | None = None, **others: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, **others)  # type: ignore[arg-type]
    assert caught.value.exit_code == 78
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write TOML under a short name in the current directory, so that error lines can be compared whole."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "e.toml") -> Path:
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
        return Path(name)

    return write


class TestTheFile:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "[batch]\n\nmax_batch_events 3",
                "not TOML: Expected '=' after a key in a key/value pair (at line 3, column 18)",
            ),
            ("[batch]\nanything = ", "not TOML: Invalid value (at line 2, the end of the file)"),
            ("[batch]\n[batch]", "not TOML: Cannot declare ('batch',) twice (at line 2, column 7)"),
            (b"[batch]\n\xff", "not UTF-8 at byte 8"),
            (b"#" * 1_048_577, "larger than 1048576 bytes"),
            ("a = " + "[" * 20_000, "nested too deeply to be read"),
        ],
    )
    def test_that_is_no_toml(self, write, text: str | bytes, line: str) -> None:
        assert problems(write(text)) == [f"e.toml: {line}"]

    def test_that_holds_a_day_no_month_has(self, write) -> None:
        (line,) = problems(write("a = 2020-02-31"))
        assert line.startswith("e.toml: not TOML: ")

    def test_that_is_missing_or_a_directory(self, write) -> None:
        Path("d.toml").mkdir()
        assert problems(Path("none.toml")) == ["none.toml: No such file or directory"]
        assert problems(Path("d.toml")) == ["d.toml: Is a directory"]

    def test_that_is_empty_gives_the_defaults(self, write) -> None:
        assert load(write("")) == Sample()


def test_five_mistakes_in_one_file_are_five_lines(write) -> None:
    path = write(
        "[heartbeat]\nintervall_s = 5\nclient_timeout_s = 0\n"
        "[batch]\nmax_batch_events = 'many'\n[acces]\nmode = 'x'\n[events]\nx = {class = 'no'}\n"
    )
    assert problems(path) == [
        "e.toml: [heartbeat] intervall_s: unknown key, did you mean interval_s?",
        "e.toml: [heartbeat] client_timeout_s = 0: must be >= 1",
        'e.toml: [batch] max_batch_events = "many": must be a whole number',
        "e.toml: [acces]: unknown section, did you mean access?",
        'e.toml: [events] x.class = "no": must be one of "critical", "fact", "state"',
    ]


def test_mistakes_of_all_sources_come_together(write) -> None:
    write("[edge.batch]\nmax_batch_events = -1", "p.toml")
    assert problems(
        write("[batch]\nmax_batch_events = -2"),
        profile="p.toml",
        environ={"PIPELINE_BATCH__MAX_BATCH_EVENTS": "-3"},
        flags={"batch.max_batch_events": -4, "batch.max_batch_event": 1},
    ) == [
        "p.toml, edge: [batch] max_batch_events = -1: must be >= 1",
        "e.toml: [batch] max_batch_events = -2: must be >= 1",
        "PIPELINE_BATCH__MAX_BATCH_EVENTS: [batch] max_batch_events = -3: must be >= 1",
        "command line: [batch] max_batch_events = -4: must be >= 1",
        "command line: [batch] max_batch_event: unknown key, did you mean max_batch_events?",
    ]


def test_mistakes_between_keys_are_told_when_each_is_right(write) -> None:
    path = write("[heartbeat]\ninterval_s = 40.0")
    assert problems(path) == ["edge: [heartbeat] client_timeout_s: must be > interval_s"]
    assert load(path, flags={"heartbeat.client_timeout_s": 50}).heartbeat.client_timeout_s == 50


def test_what_a_section_checks_itself_is_a_mistake_too() -> None:
    class Picky(msgspec.Struct, frozen=True):
        low: int = 1

        def __post_init__(self) -> None:
            if self.low == 2:
                raise ValueError("2 is not to be had")

    class Config(msgspec.Struct, frozen=True):
        picky: Picky = Picky()

    with pytest.raises(ConfigError, match=r"^edge: 2 is not to be had"):
        settings.load(Config, "edge", path=None, profile=None, flags={"picky.low": 2}, environ={})


class TestPrecedence:
    @pytest.mark.parametrize("count", range(5))
    def test_the_strongest_source_that_speaks_counts(self, write, count: int) -> None:
        write(f"[edge.batch]\nmax_batch_events = {1 if count > 0 else 50}", "p.toml")
        path = write("[batch]\nmax_batch_events = 2" if count > 1 else "")
        environ = {"PIPELINE_BATCH__MAX_BATCH_EVENTS": "3"} if count > 2 else {}
        flags: dict[str, object] = {"batch.max_batch_events": 4 if count > 3 else None}
        got = load(path, profile="p.toml", environ=environ, flags=flags)
        assert got.batch.max_batch_events == (50, 1, 2, 3, 4)[count]

    def test_each_key_for_itself(self, write) -> None:
        write("[edge.heartbeat]\ninterval_s = 7\nclient_timeout_s = 70", "p.toml")
        path = write("[heartbeat]\ninterval_s = 8\n[events]\na = {class = 'fact'}")
        got = load(path, profile="p.toml", environ={"PIPELINE_BATCH__ANYTHING": "-9"})
        assert got.heartbeat == Heartbeat(interval_s=8.0, client_timeout_s=70.0)
        assert got.batch == Batch(anything=-9)
        assert got.events == {"a": Rule(class_="fact")}

    def test_free_keys_of_profile_and_file_come_together(self, write) -> None:
        write("[edge.events]\na = {class = 'fact'}\nb = {class = 'fact'}", "p.toml")
        got = load(write("[events]\nb = {class = 'state', key = 'k'}"), profile="p.toml")
        assert got.events == {"a": Rule(class_="fact"), "b": Rule(class_="state", key="k")}

    def test_a_whole_number_will_do_for_a_float(self, write) -> None:
        got = load(write("[heartbeat]\ninterval_s = 8")).heartbeat.interval_s
        assert (got, type(got)) == (8.0, float)


class TestFlags:
    def test_not_given_does_not_count(self, write) -> None:
        path = write("[access]\nports = [5]\nname = 'x'")
        got = load(path, flags={"access.ports": (), "access.name": None})
        assert (got.access.ports, got.access.name) == ([5], "x")

    def test_a_tuple_is_a_list_and_a_path_is_text(self) -> None:
        got = load(flags={"access.ports": (5, 6), "access.greeting": Path("/run/x")})
        assert (got.access.ports, got.access.greeting) == ([5, 6], "/run/x")

    def test_bytes_that_are_no_text(self) -> None:
        (line,) = problems(flags={"access.greeting": "a\udcff"})
        assert line == 'command line: [access] greeting = "a?": must be valid Unicode'

    def test_of_an_unknown_section(self) -> None:
        assert problems(flags={"bach.x": 1}) == ["command line: [bach]: unknown section, did you mean batch?"]


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variable", "text", "value"),
        [
            ("ACCESS__REQUIRED", "true", True),
            ("ACCESS__PORTS", "[1, 2]", [1, 2]),
            ("ACCESS__NAME", "plain", "plain"),
            ("ACCESS__NAME", '"quoted"', "quoted"),
            ("ACCESS__MODE", "json", "json"),
            ("ACCESS__LEVEL", "2", 2),
            ("ACCESS__GREETING", "12", "12"),
            ("ACCESS__GREETING", "true", "true"),
            ("ACCESS__GREETING", "", ""),
            ("ACCESS__GREETING", '"a"\nother = 2', '"a"\nother = 2'),
            ("ACCESS__TOKEN_SECRET", "a#b=c", "a#b=c"),
            ("ACCESS__LABELS", "{a = 'b'}", {"a": "b"}),
        ],
    )
    def test_a_value_is_toml_or_else_a_plain_string(self, variable: str, text: str, value: object) -> None:
        got = load(environ={f"PIPELINE_{variable}": text})
        assert getattr(got.access, variable.partition("__")[2].lower()) == value

    def test_a_hyphen_is_an_underscore(self) -> None:
        assert load(environ={"PIPELINE_FINE_TUNING__LOOP_COUNT": "7"}).tuning.loop_count == 7

    def test_an_unknown_key_of_our_section(self) -> None:
        assert problems(environ={"PIPELINE_BATCH__MAX_BATCH_EVENT": "5"}) == [
            "PIPELINE_BATCH__MAX_BATCH_EVENT: [batch] max_batch_event: unknown key, "
            "did you mean max_batch_events?"
        ]

    def test_a_wrong_type(self) -> None:
        assert problems(environ={"PIPELINE_BATCH__ANYTHING": "lots"}) == [
            'PIPELINE_BATCH__ANYTHING: [batch] anything = "lots": must be a whole number'
        ]

    @pytest.mark.parametrize(
        "variable", ["PIPELINE_OTHER__KEY", "PIPELINE_RUN_DIR", "PIPELINE_BATCH", "BATCH__X", "HOME"]
    )
    def test_what_is_not_ours_is_passed_by(self, variable: str) -> None:
        assert load(environ={variable: "5"}) == Sample()

    def test_free_keys_have_no_variables(self) -> None:
        assert problems(environ={"PIPELINE_EVENTS__X": "{}"}) == [
            "PIPELINE_EVENTS__X: [events] can be set in a file only"
        ]


class TestProfiles:
    def test_by_name(self, write, monkeypatch: pytest.MonkeyPatch) -> None:
        write("[edge.batch]\nanything = 4\n[up.whatever]\nx = 1", "quick.toml")
        monkeypatch.setattr(settings, "PROFILES_DIR", Path())
        assert load(profile="quick").batch.anything == 4

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("low-latenzy", "profile low-latenzy: no such profile, did you mean low-latency?"),
            (
                "../x",
                "profile ../x: no such profile; there are: high-throughput, low-latency, unstable-network",
            ),
            ("none.toml", "none.toml: No such file or directory"),
        ],
    )
    def test_unknown(self, name: str, line: str) -> None:
        assert problems(profile=name) == [line]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "[edge.batch]\nanythin = 1",
                "p.toml, edge: [batch] anythin: unknown key, did you mean anything?",
            ),
            ("[edge.bach]", "p.toml, edge: [bach]: unknown section, did you mean batch?"),
            ("[egde.batch]", "p.toml: [egde]: unknown stage, did you mean edge?"),
            ("edge = 1", "p.toml: edge: must be a table of sections"),
            (
                "[edge",
                "p.toml: not TOML: Expected ']' at the end of a table declaration "
                "(at line 1, the end of the file)",
            ),
        ],
    )
    def test_is_checked_as_strictly(self, write, text: str, line: str) -> None:
        write(text, "p.toml")
        assert problems(profile="p.toml") == [line]

    def test_of_another_stage_changes_nothing(self, write) -> None:
        write("[ingest.batch]\nanything = 'not even right'", "p.toml")
        assert load(profile="p.toml") == Sample()


class TestSecrets:
    SECRET = "hunter2-and-more"

    @pytest.mark.parametrize(
        "text",
        [
            f"[access]\ntoken_secret = '{SECRET}'",
            f"[access]\ntoken_secret = ['{SECRET}']",
            f"[access]\ntoken_secrett = '{SECRET}'",
            f"[access.token_secret]\na = '{SECRET}'",
            f"access = '{SECRET}'",
            f"token_secret = '{SECRET}'",
            f"[access]\ntoken_secret = {SECRET}",
        ],
    )
    def test_never_in_an_error(self, write, text: str) -> None:
        assert "hunter" not in "\n".join(problems(write(text)))

    def test_never_in_an_error_of_flag_or_environment(self) -> None:
        lines = problems(
            flags={"access.token_secret": self.SECRET}, environ={"PIPELINE_ACCESS__TOKEN_SECRET": self.SECRET}
        )
        assert [line.split(" = ")[1] for line in lines] == ["********: must be at most 8 characters"] * 2

    def test_masked_when_shown_and_only_when_set(self) -> None:
        shown = settings.to_toml(load(flags={"access.token_secret": "hunter2"}))
        assert 'token_secret = "********"\n' in shown
        assert "hunter" not in shown
        assert 'token_secret = ""\n' in settings.to_toml(Sample())

    def test_inside_a_list_or_table(self) -> None:
        class Peer(msgspec.Struct, frozen=True):
            key: Annotated[str, Meta(extra={"secret": True})] = ""

        class Keys(msgspec.Struct, frozen=True):
            old: list[Annotated[str, Meta(extra={"secret": True})]] = []

        class Config(msgspec.Struct, frozen=True):
            keys: Keys = Keys()
            peers: dict[str, Peer] = {}

        shown = settings.to_toml(Config(keys=Keys(old=["hunter2"]), peers={"a": Peer(key="hunter2")}))
        assert shown == '[keys]\nold = "********"\n\n[peers]\na = "********"\n'
        with pytest.raises(ConfigError) as caught:
            settings.load(
                Config,
                "edge",
                path=None,
                profile=None,
                environ={},
                flags={"keys.old": "hunter2", "peers.a": "hunter2"},
            )
        assert "hunter" not in str(caught.value)
        assert len(caught.value.problems) == 2


class TestPrinting:
    def test_the_defaults_load_as_the_defaults(self, write) -> None:
        text = settings.default_toml(Sample, "edge", "Everything.")
        assert load(write(text)) == Sample()
        assert set(tomllib.loads(text)["access"]) == set(Access.__struct_fields__)

    def test_each_example_loads(self, write) -> None:
        text = settings.default_toml(Sample, "edge", "Everything.")
        for example, bare in (
            ('# Example:\n# labels = {team = "red"}\nlabels = {}', 'labels = {team = "red"}'),
            ('# Example:\n# mine = {class = "state", key = "k"}', 'mine = {class = "state", key = "k"}'),
        ):
            assert example in text
            text = text.replace(example, bare)
        got = load(write(text))
        assert (got.access.labels, got.events) == ({"team": "red"}, {"mine": Rule(class_="state", key="k")})

    def test_a_key_stands_under_its_text_unit_and_bounds(self) -> None:
        text = settings.default_toml(Sample, "edge", "Everything.")
        assert text.startswith("# edge: Everything.\n#\n")
        assert (
            "\n\n# How a silent reader is noticed.\n[heartbeat]\n"
            "# Between two pings.\n# Unit: s. Bounds: > 0, <= 60.\ninterval_s = 5.0\n\n"
        ) in text
        assert "# Bounds: at most 3 entries, each >= 1, each <= 65535.\nports = []\n" in text
        assert (
            "# Signs tokens.\n# Bounds: at most 8 characters. Secret: never shown.\ntoken_secret = " in text
        )
        assert "\n# Types treated otherwise.\n[events]\n" in text

    def test_comments_are_at_most_100_columns(self) -> None:
        class Long(msgspec.Struct, frozen=True):
            key: Annotated[int, Meta(description="word " * 100)] = 1

        class Config(msgspec.Struct, frozen=True):
            long: Long = Long()

        lines = settings.default_toml(Config, "edge", "word " * 50).splitlines()
        assert max(map(len, lines)) in range(96, 101)
        assert sum(line.count("word") for line in lines) == 150

    @given(
        text=st.text(st.characters(exclude_categories=["Cs"])),
        number=st.integers(-(2**63), 2**63 - 1),
        real=st.floats(allow_nan=False, allow_infinity=False),
        name=st.text(st.characters(exclude_categories=["Cs"])),
    )
    def test_what_is_shown_loads_as_what_was_shown(
        self, text: str, number: int, real: float, name: str
    ) -> None:
        config = Sample(
            batch=Batch(anything=number),
            access=Access(greeting=text, origins=[text, name], labels={name: text}, weights={name: real}),
            events={name: Rule(class_="state", key=text)},
        )
        assert msgspec.convert(tomllib.loads(settings.to_toml(config)), Sample) == config


def test_every_key_is_listed() -> None:
    found = settings.keys(Sample)
    assert ("heartbeat", "interval_s", 5.0, "s", "Between two pings.", "> 0, <= 60") in found
    assert ("fine-tuning", "loop-count", 1, "", "", "") in found
    assert found[-1] == ("events", "*", {}, "", "Types treated otherwise.", "")
    assert len(found) == 2 + 3 + len(Access.__struct_fields__) + 1 + 1
