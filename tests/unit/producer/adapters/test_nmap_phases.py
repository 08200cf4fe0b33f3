"""nmap's tasks: each time one begins again it is another phase, and no percentage goes back far."""

from __future__ import annotations

from pipeline.producer.adapters.nmap_phases import MAX_NAME, MAX_TASKS, NmapPhases
from pipeline.throttle_batch.progress import Progress
from tests.unit.producer.adapters.reading import events_of, read, recording


def phases_of(seen: list[tuple[str, str, float | None]]) -> list[str]:
    phases = NmapPhases()
    return [phases.present for each in seen if phases.see(*each)]


def test_without_v_a_task_that_falls_back_has_begun_again() -> None:
    told = [
        ("taskprogress", "SYN Stealth Scan", percent) for percent in (10.0, 60.0, 58.0, 95.0, 3.0, 50.0, 10.0)
    ]
    assert phases_of(told) == ["syn_stealth_scan", "syn_stealth_scan_2", "syn_stealth_scan_3"]


def test_a_task_that_comes_back_after_another_is_another_phase() -> None:
    tasks = ["Connect Scan", "Service scan", "Connect Scan", "Service scan"]
    assert phases_of([("taskprogress", task, 90.0) for task in tasks]) == [
        *("connect_scan", "service_scan", "connect_scan_2", "service_scan_2"),
    ]


def test_rounds_of_scripts_are_one_phase_unless_they_tell_how_far_they_are() -> None:
    rounds = [("taskbegin", "NSE", None), ("taskend", "NSE", None)] * 3
    assert phases_of([("taskbegin", "Connect Scan", None), *rounds]) == ["connect_scan", "script_scan"]
    told = [*rounds, ("taskbegin", "NSE", None), ("taskprogress", "NSE", 12.0)]
    assert phases_of(told) == ["script_pre_scan", "script_pre_scan_2"]


def test_names_and_counts_are_bounded() -> None:
    phases = NmapPhases()
    for number in range(10 * MAX_TASKS):
        phases.see("taskbegin", f"{number}" + "x" * 1000, None)
        assert len(phases.present) <= MAX_NAME
    assert len(phases._times) <= MAX_TASKS
    assert phases_of([("taskbegin", "\u202e", None)]) == ["unnamed"]


def test_host_groups_of_a_real_run_are_honest_progress() -> None:
    """Three groups of four hosts: each task of each is a phase of its own."""
    events = events_of(read("nmap", recording("groups.xml")))
    begun = [str(event["phase"]) for event in events if event["type"] == "phaseStarted"]
    assert begun == [
        *("connect_scan", "service_scan", "script_scan"),
        *("connect_scan_2", "service_scan_2", "script_scan_2"),
        *("connect_scan_3", "service_scan_3", "script_scan_3"),
    ]
    progress = Progress()
    for at_s, event in enumerate(event for event in events if "progress" in event):
        progress.report(str(event["phase"]), float(str(event["progress"])), at_s)
    assert progress.nonsense == 0
    assert len(progress.phases) == 9
