"""Command lines of tools: what is added, which targets they name, and no secret of them shown."""

from __future__ import annotations

import shlex

import pytest

from pipeline.producer.adapters.arguments import MAX_TARGET, MAX_TARGETS, masked, targets_of, tool_command


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("nmap -sV a", "nmap -oX - --stats-every 1s -oN /dev/stderr -sV a"),
        ("/usr/bin/nmap -oX - a", "/usr/bin/nmap --stats-every 1s -oN /dev/stderr -oX - a"),
        ("nmap --stats-every 5s -oN x a", "nmap -oX - --stats-every 5s -oN x a"),
        ("nmap --stats-every=5s a", "nmap -oX - -oN /dev/stderr --stats-every=5s a"),
        ("sudo -n nmap a", "sudo -n nmap -oX - --stats-every 1s -oN /dev/stderr a"),
        ("masscan -p80 10.0.0.0/8", "masscan -oD - -p80 10.0.0.0/8"),
        ("masscan -p80 -oJ - 10.0.0.0/8", "masscan -p80 -oJ - 10.0.0.0/8"),
        ("nuclei -u a", "nuclei -jsonl -stats -stats-json -u a"),
        ("nuclei -u a -j -stats --stats-json", "nuclei -u a -j -stats --stats-json"),
        ("naabu -host a", "naabu -json -host a"),
        ("httpx -u a -json", "httpx -u a -json"),
        ("my-tool nmap", "my-tool nmap"),
    ],
)
def test_what_is_missing_is_added_behind_the_program(line: str, completed: str) -> None:
    command = tool_command(line.split())
    assert sorted(command.arguments) == sorted(completed.split())
    assert command.arguments[0] == line.split()[0]
    assert [word for word in command.arguments if word not in command.added] == [
        word for word in line.split() if word not in command.added
    ]
    assert len(command.arguments) == len(line.split()) + len(command.added)


@pytest.mark.parametrize(("line", "tool", "source"), [
    ("/opt/nmap a", "nmap", "nmap"),
    ("sudo masscan 10.0.0.1", "masscan", "masscan"),
    ("my-tool nmap", "my-tool", None),
    ("sudo my-tool", "sudo", None),
])  # fmt: skip
def test_the_program_tells_what_reads_it(line: str, tool: str, source: str | None) -> None:
    command = tool_command(line.split())
    assert (command.tool, command.source) == (tool, source)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("nmap -oX file.xml a", "leave out -oX file.xml"),
        ("nmap -oX", "leave out -oX"),
        ("nmap -oA base a", "leave out -oA"),
        ("masscan -oJ file", "leave out -oJ file, or use -oJ -"),
        ("masscan -oX file", "use -oD -"),
    ],
)
def test_output_that_goes_elsewhere_is_refused_with_advice(line: str, advice: str) -> None:
    with pytest.raises(ValueError, match="emit reads") as refused:
        tool_command(line.split())
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("nmap -sV -p 80,443 -T4 --script vuln 10.0.0.0/24 a.example", ["10.0.0.0/24", "a.example"]),
        ("nmap -iL list --exclude 10.0.0.1 --top-ports 10 -oN x ::1", ["::1"]),
        ("masscan -p80 --rate 1000 --adapter-ip 10.9.9.9 10.0.0.0/8 --banners 192.168.0.1-192.168.0.9",
         ["10.0.0.0/8", "192.168.0.1-192.168.0.9"]),
        ("masscan 10.0.0.0/8 -p80", ["10.0.0.0/8"]),
        ("masscan --range 10.0.0.0/8,11.0.0.0/8", ["10.0.0.0/8", "11.0.0.0/8"]),
        ("nuclei -u https://me:pass@a.example -l list", ["https://…@a.example"]),
        ("nuclei -target=a,b", ["a", "b"]),
        ("naabu -host a -p 80", ["a"]),
        ("httpx -l list", []),
        ("my-tool 10.0.0.1", []),
    ],
)  # fmt: skip
def test_targets(line: str, targets: list[str]) -> None:
    tool, *rest = line.split()
    assert targets_of(tool, rest) == targets


def test_targets_are_bounded() -> None:
    found = targets_of("nmap", ["x" * 1000] * 1000)
    assert len(found) == MAX_TARGETS
    assert {len(target) for target in found} == {MAX_TARGET}


@pytest.mark.parametrize(
    "line",
    [
        "nmap --script-args user=me,pass=hunter2 a",
        "nmap --script-args=pass=hunter2 a",
        "nmap --proxies http://me:hunter2@p:80 a",
        "nuclei -H 'Authorization: Bearer hunter2' -u a",
        "nuclei -header 'X-Thing: hunter2' -u a",
        "nuclei '-HX-Thing: hunter2' -u a",
        "nuclei -u 'https://a/?api_key=hunter2&x=1'",
        "nuclei -u https://me:hunter2@a/",
        "nuclei -itoken hunter2 -u a",
        "nuclei -itoken -hunter2 -u a",
        "nuclei -var password=hunter2 -V hunter2",
        "sudo API_TOKEN=hunter2 nmap a",
        "my-tool --password hunter2",
        "my-tool --api-key=hunter2",
        "my-tool 'Cookie: hunter2'",
        "my-tool --session-id hunter2 --auth hunter2",
    ],
)
def test_no_secret_is_shown_and_what_is_left_out_is_said(line: str) -> None:
    words = shlex.split(line)
    shown, left_out = masked(words)
    assert "hunter2" not in shown
    assert "…" in shown
    assert left_out
    assert "hunter2" not in "".join(left_out)
    command = tool_command(words)
    assert "hunter2" not in command.shown + "".join(command.targets)
    assert any("hunter2" in argument for argument in command.arguments)


def test_the_rest_is_shown_as_it_can_be_typed_again() -> None:
    words = ["nmap", "-sV", "--script", "a b", "10.0.0.0/24", "x=y"]
    shown, left_out = masked(words)
    assert shlex.split(shown) == words
    assert left_out == []
