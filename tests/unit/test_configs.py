"""The shipped configuration: `configs/`, the profiles and the `config` command, as they are."""

import importlib
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from pipeline import settings
from pipeline.errors import ConfigError
from pipeline.operate.config import config_commands, default_text
from tests.keyring import Keyring

CONFIGS = Path(__file__).parents[2] / "configs"
STRUCTS = {
    "ingest": ("pipeline.ingest.config", "IngestConfig"),
    "throttle-batch": ("pipeline.throttle_batch.config", "ThrottleBatchConfig"),
    "edge": ("pipeline.edge.config", "EdgeConfig"),
    "notify": ("pipeline.notify.config", "NotifyConfig"),
    "up": ("pipeline.up.config", "UpConfig"),
}
PROFILES = {
    "high-throughput": {("throttle-batch", "batch"): (5.0, 0.2, 100)},
    "low-latency": {("throttle-batch", "batch"): (20.0, 0.05, 25)},
    "unstable-network": {
        ("edge", "heartbeat"): (10.0, 60.0),
        ("edge", "limits"): (524_288, 60.0, 60.0),
        ("throttle-batch", "journal"): (4_294_967_296,),
    },
}


def struct(stage: str) -> type[msgspec.Struct]:
    module, name = STRUCTS[stage]
    found = getattr(importlib.import_module(module), name)
    assert issubclass(found, msgspec.Struct)
    return found


def load(stage: str, path: Path | None = None, profile: str | None = None) -> msgspec.Struct:
    return settings.load(struct(stage), stage, path=path, profile=profile, flags={}, environ={})


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[str, BaseException | None]:
    group = config_commands({stage: lambda stage=stage: struct(stage) for stage in STRUCTS})
    result = CliRunner().invoke(group, arguments, env=env)
    return result.stdout, result.exception


def test_the_stages_are_those_a_profile_may_name() -> None:
    assert tuple(STRUCTS) == settings.STAGES
    assert sorted(path.name for path in CONFIGS.glob("*.toml")) == sorted(
        f"{stage}.toml" for stage in STRUCTS
    )


@pytest.mark.parametrize("stage", STRUCTS)
class TestEachStage:
    def test_its_file_is_what_config_default_prints(self, stage: str) -> None:
        text = (CONFIGS / f"{stage}.toml").read_text()
        assert text == default_text(struct(stage), stage)
        assert run("default", stage) == (text, None)

    def test_its_file_loads_as_its_defaults(self, stage: str) -> None:
        assert load(stage, CONFIGS / f"{stage}.toml") == struct(stage)()

    def test_each_example_loads(self, stage: str, tmp_path: Path) -> None:
        lines = default_text(struct(stage), stage).splitlines()
        for index, line in enumerate(lines):
            if line == "# Example:":
                lines[index + 1] = lines[index + 1].removeprefix("# ")
                if lines[index + 2 : index + 3] and lines[index + 2].endswith(" = {}"):
                    lines[index + 2] = ""
        path = tmp_path / "examples.toml"
        path.write_text("\n".join(lines))
        load(stage, path)

    def test_each_key_has_a_text_and_each_measure_its_unit(self, stage: str) -> None:
        for key in settings.keys(struct(stage)):
            name = f"[{key.section}] {key.key}"
            assert key.description, f"{name} says nothing"
            if key.key.endswith("_per_s"):
                assert key.unit.endswith("/s"), f"{name} is in {key.unit!r}"
            elif key.key.endswith(("_s", "_bytes")):
                assert key.unit == key.key.rpartition("_")[2], f"{name} is in {key.unit!r}"

    def test_check_and_show(self, stage: str, tmp_path: Path) -> None:
        path = CONFIGS / f"{stage}.toml"
        assert run("check", stage, str(path)) == (f"ok {path}\n", None)
        shown, error = run("show", stage, str(path))
        assert error is None
        assert shown == settings.to_toml(struct(stage)())
        assert set(tomllib.loads(shown)) == set(tomllib.loads(path.read_text()))

    @pytest.mark.parametrize("profile", PROFILES)
    def test_loads_with_each_profile(self, stage: str, profile: str) -> None:
        changed = load(stage, profile=profile)
        for (of, section), values in PROFILES[profile].items():
            if of == stage:
                table = tomllib.loads(settings.to_toml(changed))[section]
                named = tomllib.loads((settings.PROFILES_DIR / f"{profile}.toml").read_text())[of][section]
                assert tuple(named.values()) == values
                assert {key: table[key] for key in named} == named
        if stage not in {of for of, _ in PROFILES[profile]}:
            assert changed == struct(stage)()


class TestProfiles:
    def test_stand_beside_the_configs(self) -> None:
        assert (CONFIGS / "profiles").readlink() == Path("../pipeline/profiles")
        assert {path.stem for path in (CONFIGS / "profiles").glob("*.toml")} == set(PROFILES)

    @pytest.mark.parametrize("name", PROFILES)
    def test_say_what_they_are_for_and_change_what_they_name(self, name: str) -> None:
        text = (settings.PROFILES_DIR / f"{name}.toml").read_text()
        assert text.startswith(f"# {name}: for ")
        tables = tomllib.loads(text)
        assert {(stage, section) for stage in tables for section in tables[stage]} == set(PROFILES[name])
        for stage, sections in tables.items():
            default = tomllib.loads(settings.to_toml(struct(stage)()))
            for section, values in sections.items():
                for key, value in values.items():
                    assert value != default[section][key], f"{key} is the default"


class TestCommand:
    def test_five_mistakes_are_five_lines_and_exit_code_78(self, tmp_path: Path) -> None:
        path = tmp_path / "throttle-batch.toml"
        path.write_text(
            "[batch]\nmax_batch_event = 5\nmax_frames_per_s = 0\nbatch_interval_s = '1'\n[logg]\n"
            "[events]\nx = {class = 'stat'}\n"
        )
        out, error = run("check", "throttle-batch", str(path))
        assert out == ""
        assert isinstance(error, ConfigError)
        assert error.exit_code == 78
        assert error.problems == [
            f"{path}: [batch] max_batch_event: unknown key, did you mean max_batch_events?",
            f"{path}: [batch] max_frames_per_s = 0: must be >= 0.1",
            f'{path}: [batch] batch_interval_s = "1": must be a number',
            f"{path}: [logg]: unknown section, did you mean log?",
            f'{path}: [events] x.class = "stat": must be one of "critical", "fact", "state"',
        ]

    def test_check_without_a_file_checks_profile_and_environment(self) -> None:
        assert run("check", "throttle-batch") == ("ok throttle-batch\n", None)
        assert run("check", "throttle-batch", "--profile", "low-latency") == ("ok low-latency\n", None)
        _, error = run("check", "throttle-batch", env={"PIPELINE_BATCH__MAX_FRAMES_PER_S": "fast"})
        assert str(error) == (
            'PIPELINE_BATCH__MAX_FRAMES_PER_S: [batch] max_frames_per_s = "fast": must be a number'
        )

    def test_check_looks_at_keys_and_addresses_too(self, tmp_path: Path) -> None:
        keys = Keyring(tmp_path)
        pair, other = keys.make("own"), keys.make("other", allowed=False)
        path = tmp_path / "ingest.toml"

        def problems(addresses: dict[str, str], server: str, **curve: str) -> list[str]:
            book = keys.book(addresses, server)
            lines = [f"{key} = '{value}'" for key, value in curve.items()]
            path.write_text("\n".join([f"[pipeline]\nendpoints = '{book}'\n[curve]", *lines]))
            out, error = run("check", "ingest", str(path))
            assert isinstance(error, ConfigError) or out == f"ok {path}\n"
            return error.problems if isinstance(error, ConfigError) else []

        own, allowed = keys.file("own"), str(keys.allowed)
        here, far = {"ingest-0.data": "tcp://10.0.0.5:7100"}, {"shard-0.in": "tcp://10.0.0.6:7200"}
        where = f"{tmp_path}/book.toml: [addresses] ingest-0.data = 'tcp://10.0.0.5:7100'"
        assert problems(here, "own", key_file=own, allowed_dir=allowed) == []
        assert problems(far, "own", key_file=own) == []
        assert problems(here, "own", key_file=own) == [
            f"{where}: bound here with a key: [curve] allowed_dir is missing, so nobody could connect"
        ]
        assert problems(here, "other", key_file=own, allowed_dir=allowed) == [
            f"{where}: [server_keys] says that {other.public} answers there; the public key of [curve] "
            f"key_file is {pair.public}"
        ]
        assert problems(here, "") == [
            f"{where}: beyond loopback ZeroMQ needs CURVE: set [curve] key_file and allowed_dir, or "
            f"--key-file; `pipeline keygen` makes keys"
        ]
        assert problems(far, "", key_file=own) == [
            f'{tmp_path}/book.toml: [server_keys]: there is none for shard-0, nor for "*"'
        ]
        Path(own).chmod(0o644)
        bad = keys.allowed / "bad.pub"
        bad.write_text("x" * 39)
        bad.chmod(0o644)
        assert problems(here, "own", key_file=own, allowed_dir=allowed) == [
            f"{own}: mode is 0644; a secret key needs 0600: chmod 600 {own}",
            f"{allowed}/bad.pub: line 1: neither a public key of 40 Z85 characters (these are 39), nor one "
            f"of produce, read, stage, names-owners",
        ]

    def test_show_has_what_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "throttle-batch.toml"
        path.write_text("[batch]\nmax_batch_events = 30\n")
        out, _ = run(
            *("show", "throttle-batch", str(path), "--profile", "low-latency"),
            env={"PIPELINE_BATCH__BATCH_INTERVAL_S": "0.5"},
        )
        batch = tomllib.loads(out)["batch"]
        assert [batch["max_frames_per_s"], batch["batch_interval_s"], batch["max_batch_events"]] == [
            20.0,
            0.5,
            30,
        ]

    def test_an_unknown_stage_is_a_usage_error(self) -> None:
        out, error = run("check", "edges")
        assert out == ""
        assert isinstance(error, SystemExit)
        assert error.code == 2

    def test_only_the_stage_asked_for_is_imported(self) -> None:
        def never() -> type[msgspec.Struct]:
            raise AssertionError("a stage was imported that was not asked for")

        group = config_commands({"throttle-batch": lambda: struct("throttle-batch"), "edge": never})
        assert CliRunner().invoke(group, ["default", "throttle-batch"]).exit_code == 0
