"""What scripts print of CVEs, and which arguments of theirs nobody sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.adapters.nmap_scripts import (
    arguments_of,
    mask_script_arguments,
    names_cve,
    vulnerabilities,
)

VULNERABLE = "\n  VULNERABLE:\n  Some flaw\n    State: VULNERABLE\n    IDs:  CVE:CVE-2014-0001"


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("CVE-2021-0001\t9.0\thttps://vulners.com/cve/CVE-2021-0001", [("CVE-2021-0001", "Critical")]),
        ("CVE-2021-0001\t10\thttps://vulners.com/", [("CVE-2021-0001", "Critical")]),
        ("CVE-2021-0001  8.9  https://a", [("CVE-2021-0001", "High")]),
        ("CVE-2021-0001 7.0", [("CVE-2021-0001", "High")]),
        ("CVE-2021-0001 4.0", [("CVE-2021-0001", "Medium")]),
        ("CVE-2021-0001 0.1", [("CVE-2021-0001", "Low")]),
        ("CVE-2021-0001 0.0", [("CVE-2021-0001", "Info")]),
        ("CVE-2021-0001 99.0", [("CVE-2021-0001", "Info")]),
        ("CVE-2021-0001 3 systems", [("CVE-2021-0001", "Info")]),
        ("see cve-2021-0001", [("CVE-2021-0001", "Info")]),
        ("CVE-2021-0001 (CVSS 9.8)", [("CVE-2021-0001", "Critical")]),
        ("CVE-2021-0001, CVE-2021-0002", [("CVE-2021-0001", "Info"), ("CVE-2021-0002", "Info")]),
        (
            "CVE-2021-0001 a\nCVE-2021-0002 b CVSS: 7.5",
            [("CVE-2021-0001", "Info"), ("CVE-2021-0002", "High")],
        ),
        (VULNERABLE, [("CVE-2014-0001", "Medium")]),
        (VULNERABLE + "\n    Risk factor: High", [("CVE-2014-0001", "High")]),
        (
            VULNERABLE + "\n    Risk factor: HIGH  CVSSv2: 10.0 (HIGH) (AV:N)",
            [("CVE-2014-0001", "Critical")],
        ),
        (VULNERABLE.replace("State: ", "State: LIKELY "), [("CVE-2014-0001", "Medium")]),
        (
            VULNERABLE + "\n  Flaw without a CVE\n    State: VULNERABLE\n    Risk factor: High",
            [("CVE-2014-0001", "Medium")],
        ),
        (VULNERABLE.replace("State: ", "State: NOT "), []),
        ("server is NOT VULNERABLE to CVE-2021-0001", []),
        ("CVE-2021-1 and CVE-21-00001 and CVE-2021-123456789", []),
        ("nothing", []),
    ],
)
def test_what_a_script_says_of_cves(output: str, found: list[tuple[str, str]]) -> None:
    first: dict[str, str] = {}
    for cve_id, severity, _ in vulnerabilities("s", output):
        first.setdefault(cve_id, severity)
    assert list(first.items()) == found


def test_two_findings_of_a_script_have_their_own_titles() -> None:
    output = VULNERABLE + VULNERABLE.replace("0001", "0002").replace("Some flaw", "Another flaw")
    titles = [title for _, _, title in vulnerabilities("http-vuln", output)]
    assert titles == ["http-vuln: Some flaw", "http-vuln: Another flaw"]


def test_a_title_is_cut() -> None:
    ((_, _, title),) = vulnerabilities("s", "CVE-2021-0001 " + "word " * 100)
    assert len(title) == len("s: ") + 80


@pytest.mark.parametrize(
    ("output", "named"),
    [("see cve-2021-0001.", True), ("CVE-2021-1", False), ("CVE-2021-123456789", False), ("", False)],
)
def test_whether_a_cve_is_named(output: str, named: bool) -> None:
    assert names_cve(output) is named


# -- the command line


def quoted(argument: str) -> str:
    """An argument as nmap 7.93 prints it in its XML."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(character.isspace() for character in argument) else escaped


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        (["--script-args", "user=me,pass=hunter2"], "--script-args …"),
        (["--script-args=user=me,pass=hunter2"], "--script-args=…"),
        (["--script-args", "user=me, pass=hunter2"], "--script-args …"),
        (["--script-args=user=me, pass=hunter2"], "--script-args=…"),
        (["--script-args", 'pass="hunter2"'], "--script-args …"),
        (["--script-args", 'pass="hunter 2\\", more'], "--script-args …"),
        (['--script-args=pass="hunter 2\\"\n--script-args'], "--script-args=…"),
        (["--script-args", ""], "--script-args …"),
        (["--script-args", "", "--script-args", "hunter2"], "--script-args … --script-args …"),
        (["--script-args", "--script-args", "--script-args", "hunter2"], "--script-args … --script-args …"),
        (["--script-args-file", "/home/me/hunter2"], "--script-args-file …"),
        (["--script-args-file=/home/me/hunter2"], "--script-args-file=…"),
        (["--script-args-f", "/home/me/hunter2"], "--script-args-f …"),
        (["-script-args", "pass=hunter2"], "-script-args …"),
        (["-script-args-file=hunter2"], "-script-args-file=…"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_what_scripts_are_given_is_masked(arguments: list[str], masked: str, last: bool) -> None:
    behind = [] if last else ["-oX", "-", "10.0.0.5"]
    shown = mask_script_arguments(" ".join(map(quoted, ["nmap", "--script", "a b", *arguments, *behind])))
    assert shown == " ".join(['nmap --script "a b"', masked, *behind])


@pytest.mark.parametrize(
    "command_line",
    [
        "",
        "nmap",
        "nmap -sV --script vuln --script-trace --script-timeout 5m -oX - 10.0.0.5",
        'nmap --data-string "say --script-args x" 10.0.0.5',
        'nmap "a b"c 10.0.0.5',
        'nmap  --script "a \\"b\\" c" x--script-args=y --script-args',
    ],
)
def test_everything_else_stays(command_line: str) -> None:
    assert mask_script_arguments(command_line) == command_line


def test_quoted_otherwise_than_nmap_does() -> None:
    assert mask_script_arguments('"--script-args=a\\\nb hunter2" -oX -') == "--script-args=… -oX -"
    assert mask_script_arguments('"--script-args=a b"hunter2 -oX -') == "--script-args=… -oX -"


ARGUMENTS = st.lists(st.text(st.sampled_from('ab=-,"\\ \t\n'), max_size=8), max_size=5)


@given(
    before=ARGUMENTS,
    secret=st.text(st.sampled_from('X=-,"\\ \t\n'), max_size=8),
    joined=st.booleans(),
    behind=ARGUMENTS,
)
def test_however_quoted_only_the_secret_is_masked(
    before: list[str], secret: str, joined: bool, behind: list[str]
) -> None:
    options = [f"--script-args={secret}"] if joined else ["--script-args", secret]
    shown = mask_script_arguments(" ".join(map(quoted, [*before, *options, *behind])))
    masked = "--script-args=…" if joined else "--script-args …"
    assert shown == " ".join([*map(quoted, before), masked, *map(quoted, behind)])


@given(st.text(st.sampled_from('X"\\ '), max_size=20), st.integers(0, 60))
def test_cut_anywhere_nothing_shows(secret: str, length: int) -> None:
    command_line = " ".join(["nmap", quoted(f"--script-args={secret}"), "--script-args", quoted(secret)])
    assert "X" not in mask_script_arguments(command_line[:length])


def test_arguments_come_without_their_quotes() -> None:
    assert arguments_of('nmap "a b" --script-args … it\'s x') == [
        "nmap",
        "a b",
        "--script-args",
        "…",
        "it's",
        "x",
    ]
    assert arguments_of("") == [""]
