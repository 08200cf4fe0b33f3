"""What stands in docs/ops against the code: metrics, alert rules, the dashboard, systemd's units."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.metrics import GAUGES, HISTOGRAMS, TEXTS, metric_name
from tests.harness import PATIENCE
from tests.unit.test_docs import (
    OPERATIONS,
    STAGE_FOLDERS,
    anchors,
    commands,
    counters,
    rows,
    section,
    sources,
)

OPS = Path(__file__).parents[2] / "docs" / "ops"
METRICS = OPS / "METRICS.md"
ALERTS = OPS / "alerts.yaml"
DASHBOARD = OPS / "dashboard.json"
PROMTOOL = shutil.which("promtool")
ANALYZE = shutil.which("systemd-analyze")
LABELS = {"shard", "reason", "wire", "pace", "code", "result", "le", "instance", "job", "stage"}
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def wanted(stage: str) -> list[list[str]]:
    """Return the rows of a stage's table."""
    found = []
    for base, text in TEXTS[stage].items():
        kind = "gauge" if base in GAUGES[stage] else "counter"
        end = "" if kind == "gauge" else "_total"
        found.append([f"`{metric_name(stage, base)}{end}`", kind, text])
    return found + [
        [f"`{metric_name(stage, b)}`", "histogram", text] for b, text in HISTOGRAMS[stage].items()
    ]


@pytest.mark.parametrize("stage", TEXTS)
def test_every_metric_has_its_row(stage: str) -> None:
    told = rows(section(METRICS, f"## Metrics of {stage}"), "metric", "kind", "what")
    printable = "\n".join("| " + " | ".join(row) + " |" for row in wanted(stage))
    assert told == wanted(stage), f"the rows should be:\n{printable}"


@pytest.mark.parametrize(("folder", "stage"), STAGE_FOLDERS.items())
def test_every_counter_has_its_text(folder: str, stage: str) -> None:
    counted = {
        name.partition("{")[0]
        for path, tree in sources()
        if path.parts[0] == folder
        for name in counters(tree)
    }
    assert counted - set(TEXTS[stage]) == set(), "pipeline/metrics.py says what each counter tells"
    assert set(TEXTS[stage]) - GAUGES[stage] - counted == set(), "and of no other one"


def series() -> set[str]:
    """Return every name that an expression may hold."""
    found = set(OTHERS)
    for stage in TEXTS:
        found |= {row[0].strip("`") for row in wanted(stage) if row[1] != "histogram"}
        for base in HISTOGRAMS[stage]:
            found |= {f"{metric_name(stage, base)}_{end}" for end in ("bucket", "sum", "count")}
    return found


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [t["expr"] for panel in panels() for t in panel["targets"]]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_expressions_name_metrics_and_labels_that_are_there(expression: str) -> None:
    named = set(re.findall(r"\b(?:pipeline_\w+|process_\w+|up)\b", expression))
    assert named
    assert named <= series()
    labels = {word for part in re.findall(r"by \(([^)]*)\)", expression) for word in re.findall(r"\w+", part)}
    labels |= set(re.findall(r"(\w+)=", expression))
    assert labels <= LABELS
    for name in named:
        is_counter = name.endswith(("_total", "_bucket", "_sum", "_count"))
        ranged = re.search(rf"(?:rate|increase)\({name}[^)]*\[", expression) is not None
        assert ranged == is_counter or name in {"pipeline_throttle_batch_journal_damaged_events_total"}, (
            "what only grows is asked for its rate, and nothing else is"
        )


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Scanstream[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"] in anchors(OPERATIONS)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[0-9]+[sm]", rule.get("for", "1m"))


def test_every_alert_is_in_the_runbook() -> None:
    told = [row[0].strip("`") for row in rows(section(OPERATIONS, "### Alerts"), "alert", "look at", "do")]
    assert told == [rule["alert"].removeprefix("Scanstream") for rule in rules()]


def test_the_runbook_names_metrics_that_are_there() -> None:
    named = set(re.findall(r"\bpipeline_(?:ingest|throttle_batch|edge)_\w+", OPERATIONS.read_text()))
    known = series() | {metric_name(stage, base) for stage in HISTOGRAMS for base in HISTOGRAMS[stage]}
    assert named
    assert named <= known


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["title"] == board["uid"] == "scanstream"
    ids = [panel["id"] for panel in panels()]
    assert sorted(set(ids)) == sorted(ids)
    for panel in panels():
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["title"]
        assert {"h", "w", "x", "y"} == set(panel["gridPos"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


@pytest.mark.system
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    assert PROMTOOL is not None
    subprocess.run([PROMTOOL, "check", "rules", str(ALERTS)], check=True, timeout=20 * PATIENCE)


# --- systemd --------------------------------------------------------------------------------------


def units() -> list[Path]:
    return sorted((OPS / "systemd").iterdir())


def services() -> list[Path]:
    return [path for path in units() if path.suffix == ".service"]


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Return the settings of a unit, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("unit", services(), ids=name_of)
def test_a_unit_runs_a_command_that_is_there(unit: Path) -> None:
    [line] = settings_of(unit)["ExecStart"]
    program, name, *arguments = line.replace("%i", "0").split()
    assert program == "/opt/scanstream/bin/pipeline"
    commands()[name].make_context(name, arguments)
    open_to_all = "IPAddressDeny" not in settings_of(unit)
    assert open_to_all == (name in {"up", "notify"}), "webhooks go anywhere, and nothing else does"


@pytest.mark.parametrize("unit", services(), ids=name_of)
def test_a_unit_waits_for_ready_and_for_signs_of_life_and_is_shut_in(unit: Path) -> None:
    told = settings_of(unit)
    assert (told["Type"], told["NotifyAccess"]) == (["notify"], ["main"])
    assert float(told["WatchdogSec"][0]) >= 5
    assert told["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert told["RestartPreventExitStatus"] == ["78"]
    assert told["UMask"] == ["0077"]
    for key in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateDevices",
        "MemoryDenyWriteExecute",
        "LockPersonality",
    ):
        assert told[key] == ["yes"]
    assert told["ProtectSystem"] == ["strict"]
    assert told["RuntimeDirectoryMode"] == ["0700"]


def test_every_stage_has_its_unit() -> None:
    told = {settings_of(unit)["ExecStart"][0].split()[1] for unit in services()}
    assert told == {"up", "ingest", "throttle-batch", "edge", "notify"}
    templates = {unit.name for unit in services() if "@" in unit.name}
    assert len(templates) == 3


@pytest.mark.system
@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    assert ANALYZE is not None
    for unit in units():
        text = unit.read_text().replace("/opt/scanstream/bin/pipeline", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    names = [unit.name.replace("@.", "@0.") for unit in units()]
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *names],
        cwd=tmp_path,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "scanstream" in line]
    assert (done.returncode, ours) == (0, [])
