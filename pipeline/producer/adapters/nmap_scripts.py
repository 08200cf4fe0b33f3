"""nmap's scripts: the vulnerabilities they print, and the secrets they are given. Pure.

Under `nmap`, which finds a script's output and the command line in the XML. Knows neither XML nor events:
text in, findings or text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.event import Severity

MASK = "…"
"""What stands where a script's arguments would."""

_CVE = re.compile(r"CVE-\d{4}-\d{4,7}(?!\d)", re.IGNORECASE | re.ASCII)
_STATE_LINE = re.compile(r"[ \t]*State: *(.*)")
_VULNERABLE = re.compile(r"(?<!NOT )\bVULNERABLE\b")
_SCORE_BEHIND = re.compile(r"[ \t]+(\d{1,2}\.\d|\d{1,2}(?=[ \t]+http))", re.ASCII)
_SCORE_NAMED = re.compile(
    r"\bCVSS(?:v\d(?:\.\d)?)?(?: base)?(?: score)?[:= ]{1,3}(\d{1,2}(?:\.\d)?)", re.IGNORECASE | re.ASCII
)
_RISK = re.compile(r"Risk factor: *(Critical|High|Medium|Low)\b", re.IGNORECASE)
_RISKS: dict[str, Severity] = {"critical": "Critical", "high": "High", "medium": "Medium", "low": "Low"}
_SCORE_LINES = 6

# An argument as nmap writes it into its XML: in quotes where it has white space, and then, as without, a
# quote in it behind a backslash. One space stands between two; an empty one is nothing between two spaces.
_ARGUMENT = re.compile(r'(?:\A| )("(?:\\.|[^"\\])*\\?"?[^ ]*|[^ ]*)', re.DOTALL)
# getopt takes one dash for two, and an option cut short where only one begins so.
_SCRIPT_ARGUMENTS = re.compile(r'"?(--?script-args(?:-[a-z]*)?)(=|\Z)')


def mask_script_arguments(command_line: str) -> str:
    """Return nmap's command line with `MASK` for what its scripts are given: it may be a password.

    Masks the value of `--script-args`, and the path of `--script-args-file`; everything else stays.

    Args:
        command_line: as it stands in the XML's `args`.
    """
    shown: list[str] = []
    is_value = False
    for argument in _ARGUMENT.findall(command_line):
        option = None if is_value else _SCRIPT_ARGUMENTS.match(argument)
        if is_value:
            shown.append(MASK)
        elif option and option[2]:
            shown.append(f"{option[1]}={MASK}")
        else:
            shown.append(argument)
        is_value = option is not None and not option[2]
    return " ".join(shown)


def arguments_of(command_line: str) -> list[str]:
    """Return the arguments of nmap's command line, the program too, without the quotes around them."""
    return [argument.strip('"') for argument in _ARGUMENT.findall(command_line)]


def names_cve(output: str) -> bool:
    """Say whether a script's output names a CVE anywhere."""
    return _CVE.search(output) is not None


def vulnerabilities(script_id: str, output: str) -> Iterator[tuple[str, Severity, str]]:
    """Read what a script says of CVEs: pairs may repeat, first mention first.

    Knows the layout of nmap's `vulns` library (a title, then `State: VULNERABLE`, then `IDs: CVE:…`) and that
    of vulners (CVE, score, address, tab-separated); elsewhere a CVE is taken where it stands. What is said
    to be NOT VULNERABLE is left out.

    Args:
        script_id: the script's name.
        output: what it printed, of any length.

    Yields:
        (CVE in capitals, severity, title: the script's id and the first words of the finding).
    """
    if not names_cve(output):
        return
    default: Severity = "Medium" if _VULNERABLE.search(output) else "Info"
    lines = output.split("\n")
    title, before, state = "", "", ""
    for index, line in enumerate(lines):
        if said := _STATE_LINE.match(line):
            state, title = said[1], before
        if line.strip():
            before = line
            title = title or line
        if "NOT VULNERABLE" in state or "NOT VULNERABLE" in line:
            continue
        for found in _CVE.finditer(line):
            cve_id = found[0].upper()
            severity = _severity(cve_id, line[found.end() :], lines[index + 1 : index + 1 + _SCORE_LINES])
            words = " ".join(title.split()).rstrip(":")[:80]
            yield cve_id, severity or default, f"{script_id}: {words}"


def _severity(cve_id: str, rest: str, following: list[str]) -> Severity | None:
    """Return the severity that stands with a CVE, or None.

    Args:
        cve_id: the CVE in capitals.
        rest: what follows it in its line.
        following: the next lines; read up to the first that speaks of something else.
    """
    score = _SCORE_BEHIND.match(rest) or _SCORE_NAMED.search(rest)
    risk = _RISK.search(rest)
    for line in following:
        if score or _STATE_LINE.match(line) or any(other.upper() != cve_id for other in _CVE.findall(line)):
            break
        score = _SCORE_NAMED.search(line)
        risk = risk or _RISK.search(line)
    value = float(score[1]) if score else 0.0
    if 0 < value <= 10:
        return "Critical" if value >= 9 else "High" if value >= 7 else "Medium" if value >= 4 else "Low"
    if score and value == 0:
        return "Info"
    return _RISKS[risk[1].lower()] if risk else None
