"""One document of nmap, recorded from real runs against own sockets: whole, in pieces, cut off and broken."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import MAX_EVENT_BYTES, Catalogue, check_event
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.nmap import NmapAdapter
from pipeline.producer.adapters.nmap_document import MAX_TAG_BYTES
from pipeline.producer.adapters.nmap_hosts import MAX_CVES, MAX_REMEMBERED_HOSTS, MAX_TEXT
from pipeline.throttle_batch.progress import Progress

RECORDINGS = Path(__file__).parent.parent / "recordings"
FINISHED = ["ping", "scripts", "services", "udp"]
ABORTED = ["aborted", "interrupted"]
STATES = {"open": "Open", "closed": "Closed", "filtered": "Filtered", "open|filtered": "Filtered"}

HEAD = b'<?xml version="1.0"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner="nmap" version="7.93" start="0">'
TAIL = b'<runstats><finished elapsed="1.5" exit="success"/><hosts up="1" total="3"/></runstats></nmaprun>\n'


def recording(name: str) -> bytes:
    return (RECORDINGS / f"{name}.xml").read_bytes()


def read(document: bytes, chunk_bytes: int = 0, *, part: bool = False) -> list[bytes | Problem]:
    adapter = NmapAdapter(part=part)
    out: list[bytes | Problem] = []
    step = chunk_bytes or len(document) or 1
    for start in range(0, len(document), step):
        out += adapter.feed(document[start : start + step])
    return out + adapter.close()


def events_of(out: list[bytes | Problem]) -> list[dict[str, object]]:
    raws = [raw for raw in out if isinstance(raw, bytes)]
    for raw in raws:
        check_event(raw)
    return [json.loads(raw) for raw in raws]


def problems_of(out: list[bytes | Problem]) -> list[Problem]:
    return [one for one in out if isinstance(one, Problem)]


def of_type(out: list[bytes | Problem], type_: str) -> list[dict[str, object]]:
    return [
        {key: value for key, value in event.items() if key not in ("type", "ts")}
        for event in events_of(out)
        if event["type"] == type_
    ]


def terminals(out: list[bytes | Problem]) -> int:
    catalogue = Catalogue()
    return sum(catalogue.treatment(check_event(raw), raw).terminal for raw in out if isinstance(raw, bytes))


def inside(xml: str, *, part: bool = False) -> list[bytes | Problem]:
    """What comes of `xml` within a whole document, without its first and last event."""
    out = read(HEAD + xml.encode() + TAIL, part=part)
    return out if part else out[1:-1]


def host(xml: str, ip: str = "10.0.0.5") -> str:
    return f'<host><status state="up"/><address addr="{ip}" addrtype="ipv4"/>{xml}</host>'


def port(xml: str, number: object = 80, protocol: str = "tcp") -> str:
    return f'<ports><port protocol="{protocol}" portid="{number}"><state state="open"/>{xml}</port></ports>'


# -- recordings


@pytest.mark.parametrize("name", FINISHED)
def test_ports_and_services_are_those_of_the_xml(name: str) -> None:
    out = read(recording(name))
    ports, services = [], []
    for host_tag in ET.fromstring(recording(name)).iter("host"):
        ip = host_tag.find("address").get("addr")  # type: ignore[union-attr]
        for tag in host_tag.iter("port"):
            number, protocol = int(tag.get("portid", "")), tag.get("protocol", "").upper()
            state = STATES[tag.find("state").get("state", "")]  # type: ignore[union-attr]
            ports.append({"ip": ip, "port": number, "protocol": protocol, "state": state})
            service = tag.find("service")
            if service is not None and state == "Open":
                services.append((number, service.get("name")))
    assert ports
    assert of_type(out, "portFound") == ports
    assert [(event["port"], event["service_name"]) for event in of_type(out, "serviceDetected")] == services
    assert problems_of(out) == []


def test_a_whole_run_event_by_event() -> None:
    at = {"ip": "127.0.0.1", "protocol": "TCP", "ts": 1795415123}
    args = "nmap -sT -sV -p 18020,18021,18022,18080 -oX - --stats-every 1s 127.0.0.1"
    message = "Service scan: 66.67 % done, about 4 s remaining (until 2026-11-23T06:25:26+00:00)"
    assert events_of(read(recording("services"))) == [
        {
            "type": "scanStarted",
            "timestamp": "2026-11-23T06:25:16+00:00",
            "scanner": "nmap 7.93",
            "args": args,
            "targets": ["127.0.0.1"],
            "ts": 1795415116,
        },
        {"type": "phaseStarted", "phase": "service_scan", "progress": 0, "ts": 1795415123},
        {
            "type": "scanProgress",
            "phase": "service_scan",
            "progress": 66.67,
            "message": message,
            "ts": 1795415123,
        },
        {"type": "hostDiscovered", "ip": "127.0.0.1", "hostname": "localhost", "ts": 1795415117},
        {"type": "portFound", **at, "port": 18020, "state": "Closed"},
        {"type": "portFound", **at, "port": 18021, "state": "Open"},
        {"type": "serviceDetected", **at, "port": 18021, "service_name": "ftp", "version": "vsftpd 2.3.4"},
        {"type": "portFound", **at, "port": 18022, "state": "Open"},
        {
            "type": "serviceDetected",
            **at,
            "port": 18022,
            "service_name": "ssh",
            "version": "OpenSSH 7.4 protocol 2.0",
        },
        {"type": "portFound", **at, "port": 18080, "state": "Open"},
        {
            "type": "serviceDetected",
            **at,
            "port": 18080,
            "service_name": "http",
            "version": "SimpleHTTPServer 0.6 Python 3.11.7",
        },
        {"type": "scanCompleted", "duration": 6.46, "total_hosts": 1, "ts": 1795415123},
    ]


def test_script_findings_that_name_a_cve() -> None:
    ip = "127.0.0.1"
    listed = {"ip": ip, "port": 18022, "title": "inventory: cpe:/a:openbsd:openssh:7.4"}
    assert of_type(read(recording("scripts")), "vulnerabilityFound") == [
        {
            "ip": ip,
            "port": 18021,
            "cve_id": "CVE-2011-2523",
            "severity": "Medium",
            "title": "ftp-vsftpd-backdoor: vsFTPd version 2.3.4 backdoor",
        },
        {**listed, "cve_id": "CVE-2023-38408", "severity": "Critical"},
        {**listed, "cve_id": "CVE-2020-15778", "severity": "High"},
        {**listed, "cve_id": "CVE-2018-15473", "severity": "Medium"},
        {**listed, "cve_id": "CVE-2021-36368", "severity": "Low"},
        {
            "ip": ip,
            "cve_id": "CVE-2022-0001",
            "severity": "Info",
            "title": "hostnote: This build is subject to CVE-2022-0001 until it is patched",
        },
    ]


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("ping", ["ping_scan", "connect_scan"]),
        ("udp", ["udp_scan"]),
        ("scripts", ["script_pre_scan", "connect_scan", "service_scan", "script_scan"]),
    ],
)
def test_phases(name: str, phases: list[str]) -> None:
    out = read(recording(name))
    assert [(event["phase"], event["progress"]) for event in of_type(out, "phaseStarted")] == [
        (phase, 0) for phase in phases
    ]
    told = {event["phase"] for event in of_type(out, "scanProgress")}
    assert told == set(phases)


def test_a_host_of_a_hint_is_announced_early_and_once() -> None:
    types = [event["type"] for event in events_of(read(recording("ping")))]
    assert types.count("hostDiscovered") == 1
    assert types.index("hostDiscovered") < types.index("scanProgress")


@pytest.mark.parametrize("name", ABORTED)
def test_a_stopped_nmap_is_an_error_with_its_place(name: str) -> None:
    document = recording(name)
    out = read(document)
    *_, problem, event = out
    assert problem == Problem(
        f"byte {len(document)}",
        "nmap XML cut off inside <nmaprun>: nmap was stopped, or its output is incomplete",
    )
    assert event == (
        b'{"type":"error","message":"nmap ended early: its XML stops at byte %d inside <nmaprun>, '
        b'during service_scan"}' % len(document)
    )


def test_a_failed_nmap_is_an_error_in_its_own_words() -> None:
    out = read(recording("error"))
    (error,) = of_type(out, "error")
    assert "'no-such-script' did not match a category, filename, or directory" in str(error["message"])
    assert "fatal" not in error
    assert of_type(out, "scanCompleted") == []
    assert problems_of(out) == []


def test_what_scripts_are_given_is_not_published() -> None:
    given = (
        "nmap --script-args &quot;user=me,pass=hunter 2&quot; &quot;--script-args=pass=hunter 3&quot; -oX - h"
    )
    (started,) = of_type(
        read(HEAD.replace(b"start=", f'args="{given}" start='.encode()) + TAIL), "scanStarted"
    )
    assert started["args"] == "nmap --script-args … --script-args=… -oX - h"
    assert started["targets"] == ["h"]


def test_a_command_line_of_any_length_is_masked_before_it_is_cut() -> None:
    for length in range(MAX_TEXT - 40, MAX_TEXT + 2):
        given = f"nmap {'x' * (length - 30)} &quot;--script-args=pass=hunter2 {'hunter2 ' * MAX_TEXT}&quot;"
        out = read(HEAD.replace(b"start=", f'args="{given}" start='.encode()) + TAIL)
        (started,) = of_type(out, "scanStarted")
        assert "hunter" not in str(started["args"])
        assert str(started["args"]).startswith("nmap xxx")


# -- fed whole, in pieces, cut off, with rubbish


@pytest.mark.parametrize("name", [*FINISHED, *ABORTED, "error"])
@pytest.mark.parametrize("chunk_bytes", [1, 97, 4096])
def test_in_pieces_it_reads_the_same(name: str, chunk_bytes: int) -> None:
    assert read(recording(name), chunk_bytes) == read(recording(name))


@pytest.mark.parametrize("name", [*FINISHED, "error"])
def test_cut_off_anywhere_it_ends_with_one_error(name: str) -> None:
    document = recording(name)
    whole = events_of(read(document))
    for end in range(97, document.rindex(b"</nmaprun>"), 97):
        out = read(document[:end])
        *before, last = events_of(out)
        assert before == whole[: len(before)]
        assert last["type"] == "error"
        assert terminals(out) == 1
        (problem,) = problems_of(out)
        assert problem.where == f"byte {end}"


def test_events_come_as_soon_as_their_tag_is_there() -> None:
    document = recording("scripts")
    adapter = NmapAdapter(part=False)
    came: dict[str, int] = {}
    for index in range(len(document)):
        for out in adapter.feed(document[index : index + 1]):
            assert isinstance(out, bytes)
            came.setdefault(out.decode(), index)
    for number in (18020, 18021, 18022, 18023, 18024, 18080):
        begin = document.index(b'portid="%d"' % number)
        end = document.index(b"</port>", begin)
        mine = [index for event, index in came.items() if f'"port":{number},' in event]
        assert mine
        assert all(begin < index <= end for index in mine)
    assert max(came.values()) < document.rindex(b"<runstats")


@pytest.mark.parametrize("rubbish", [b"Nmap done", b"\x00", b"&amp;", b"</a>", b"<?php", b"<nmap", b"<!--"])
@pytest.mark.parametrize("chunk_bytes", [0, 1])
def test_rubbish_behind_a_whole_document_is_named_and_ends_nothing_twice(
    rubbish: bytes, chunk_bytes: int
) -> None:
    document = recording("services")
    *rest, problem, completed = read(document + rubbish, chunk_bytes)
    assert [*rest, completed] == read(document)
    assert isinstance(problem, Problem)
    assert problem.message.startswith("ignored what follows the nmap document")
    assert problem.where == f"byte {len(document)}"


@pytest.mark.parametrize(
    "rubbish", [b"<", b"\x00", b"</nothing>", b"&unknown;", b'<a b="1" b="2"/>', b"\xff"]
)
def test_rubbish_in_the_middle_is_named_with_its_byte_and_ends_the_scan(rubbish: bytes) -> None:
    before = HEAD + host("").encode()
    out = read(before + rubbish + host("", "10.0.0.6").encode() + TAIL)
    assert [event["ip"] for event in of_type(out, "hostDiscovered")] == ["10.0.0.5"]
    assert terminals(out) == 1
    (problem,) = problems_of(out)
    assert problem.message.startswith("nmap XML cannot be read on: ")
    place = int(problem.where.removeprefix("byte "))
    assert 0 <= place - len(before) <= len(rubbish) + 1
    assert f"at byte {place}" in str(events_of(out)[-1]["message"])


@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=4), st.integers(1, 3000))
def test_however_broken_it_never_raises_and_ends_the_scan_once(
    place: int, bytes_: bytes, chunk_bytes: int
) -> None:
    document = bytearray(recording("ping"))
    place %= len(document)
    document[place : place + len(bytes_)] = bytes_
    out = read(bytes(document), chunk_bytes)
    events_of(out)
    assert terminals(out) == 1
    assert out == read(bytes(document))


@pytest.mark.parametrize("chunk_bytes", [0, 1])
@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "no nmap XML: input was empty; run nmap with -oX -"),
        (b" \n", "no nmap XML: input was empty; run nmap with -oX -"),
        (
            b"Starting Nmap 7.93 at noon\nNmap scan report\n",
            "no nmap XML: the input starts with 'Starting Nmap 7.93 at noon'; run nmap with -oX -",
        ),
        (b'{"type":"x"}', 'no nmap XML: the input starts with \'{"type":"x"}\'; run nmap with -oX -'),
        (b"\x1f\x8b\x08", "no nmap XML: the input starts with '\\x1f\ufffd\\x08'; run nmap with -oX -"),
    ],
)
def test_what_is_no_xml_is_told_with_advice(document: bytes, message: str, chunk_bytes: int) -> None:
    problem, event = read(document, chunk_bytes)
    assert isinstance(problem, Problem)
    assert problem.message == message
    assert isinstance(event, bytes)
    assert json.loads(event) == {"type": "error", "message": message}


def test_another_tools_xml_is_told_with_advice() -> None:
    (problem,) = problems_of(read(b"<?xml version='1.0'?><html/>"))
    assert problem == Problem(
        "byte 21", "nmap XML cannot be read on: the root is <html>, not <nmaprun>; run nmap with -oX -"
    )


def test_white_space_and_a_byte_order_mark_in_front_do_no_harm() -> None:
    document = recording("services")
    assert read(b"\n\n" + document) == read(document)
    assert problems_of(read(b"\n\n" + document[:500]))[0].where == "byte 502"
    assert read(b"\xef\xbb\xbf" + document) == read(document)


@pytest.mark.parametrize("encoding", ["no-such", "utf-7", "shift_jis", "UTF-16", "hex"])
def test_a_declared_encoding_changes_nothing(encoding: str) -> None:
    document = recording("services")
    assert read(document.replace(b"UTF-8", encoding.encode(), 1)) == read(document)


# -- hostile input


@pytest.mark.parametrize(
    "declarations",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">',
        '<!ENTITY secret SYSTEM "file:///etc/hostname">',
        '<!ENTITY % outer SYSTEM "http://127.0.0.1/x.dtd"> %outer;',
        '<!ATTLIST host note CDATA "default">',
    ],
)
def test_declarations_are_refused(declarations: str) -> None:
    document = f"<?xml version='1.0'?><!DOCTYPE nmaprun [{declarations}]><nmaprun>&b;</nmaprun>".encode()
    out = read(document)
    (problem,) = problems_of(out)
    assert "a DOCTYPE with declarations of its own is refused" in problem.message
    assert [event["type"] for event in events_of(out)] == ["error"]


def test_a_tag_without_end_is_given_up_at_the_limit() -> None:
    adapter = NmapAdapter(part=False)
    out = adapter.feed(HEAD + b'<a b="')
    fed_bytes = 0
    while not problems_of(out):
        out += adapter.feed(b"x" * 1_048_576)
        fed_bytes += 1_048_576
        assert fed_bytes <= 2 * MAX_TAG_BYTES
    assert f"exceeds the limit of {MAX_TAG_BYTES}" in problems_of(out)[0].message
    out += adapter.feed(b"x") + adapter.close()
    assert len(problems_of(out)) == 1
    assert terminals(out) == 1


def test_deep_nesting_is_given_up_at_the_limit() -> None:
    out = read(HEAD + b"<a>" * 100_000)
    (problem,) = problems_of(out)
    assert "tags nested deeper than the limit of 64" in problem.message


def test_long_texts_are_cut_so_that_every_event_fits() -> None:
    long = "\U0001f4a3&#9;" * 20_000
    tag = f'<taskprogress task="{long}" percent="1" remaining="{long}" etc="{long}"/>'
    service = f'<service name="{long}" product="{long}" version="{long}"/>'
    script = f'<script id="{long}" output="CVE-2021-0001 {long}"/>'
    names = f'<hostnames><hostname name="{long}"/></hostnames>'
    end = f'<runstats><finished exit="error" errormsg="{long}"/></runstats></nmaprun>'
    begin = f'<nmaprun args="{long}" version="{long}">'
    out = read((begin + tag + host(names + port(service + script), ip=long) + end).encode())
    assert problems_of(out) == []
    assert Counter(event["type"] for event in events_of(out)).keys() == {
        *("scanStarted", "phaseStarted", "scanProgress", "hostDiscovered", "portFound", "serviceDetected"),
        *("enumerationFinding", "vulnerabilityFound", "error"),
    }
    assert max(len(raw) for raw in out) <= MAX_EVENT_BYTES  # type: ignore[arg-type]
    assert len(str(of_type(out, "serviceDetected")[0]["version"])) == MAX_TEXT


def test_a_long_tag_name_does_not_make_a_long_error() -> None:
    for out in (read(HEAD + b"<" + b"a" * 100_000 + b">"), read(b"<" + b"a" * 100_000 + b"/>")):
        (problem,) = problems_of(out)
        assert len(problem.message) < 300


def test_a_banner_goes_on_as_it_is() -> None:
    out = inside(host(port('<service name="x" product="&lt;img src=x onerror=alert(1)&gt;&#x85;&#x202e;"/>')))
    assert of_type(out, "serviceDetected")[0]["version"] == "<img src=x onerror=alert(1)>\x85\u202e"


def test_only_so_many_cves_of_a_port_are_sent() -> None:
    names = " ".join(f"CVE-2021-{number}" for number in range(10_000, 10_000 + MAX_CVES + 5))
    out = inside(
        host(port(f'<script id="s" output="{names}"/>') + port(f'<script id="s" output="{names}"/>', 81))
    )
    assert Counter(event["port"] for event in of_type(out, "vulnerabilityFound")) == {
        80: MAX_CVES,
        81: MAX_CVES,
    }
    assert [problem.message for problem in problems_of(out)] == [
        f"more than {MAX_CVES} CVEs at 10.0.0.5:{number}; the rest is not sent" for number in (80, 81)
    ]


def test_hosts_are_remembered_up_to_the_limit() -> None:
    def number(count: int) -> str:
        return host("", f"10.{count >> 16}.{count >> 8 & 255}.{count & 255}")

    within = "".join(map(number, range(MAX_REMEMBERED_HOSTS)))
    beyond = number(MAX_REMEMBERED_HOSTS)
    out = inside(within + number(0) + beyond + number(1) + number(0))
    ips = [event["ip"] for event in of_type(out, "hostDiscovered")]
    assert len(ips) == MAX_REMEMBERED_HOSTS + 2
    assert ips[-2:] == ["10.1.0.0", "10.0.0.0"]


# -- single tags


@pytest.mark.parametrize(
    ("state", "expected"),
    [*STATES.items(), ("closed|filtered", "Filtered")],
)
def test_port_states(state: str, expected: str) -> None:
    out = inside(host(f'<ports><port protocol="udp" portid="0"><state state="{state}"/></port></ports>'))
    assert of_type(out, "portFound") == [{"ip": "10.0.0.5", "port": 0, "protocol": "UDP", "state": expected}]


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (port("", 80, "sctp") * 3, "protocol 'sctp', and an event can say tcp or udp"),
        (port("", 65_536) + port("", "http") + port("", 1.5), "port number not within 0 to 65535"),
        (
            '<ports><port protocol="tcp" portid="1"><state state="unfiltered"/></port></ports>' * 3,
            "state 'unfiltered', and an event can say open, closed or filtered",
        ),
    ],
)
def test_a_port_no_event_can_say_is_counted_in_one_problem(xml: str, why: str) -> None:
    out = inside(host(port("", 443) + xml))
    assert [event["port"] for event in of_type(out, "portFound")] == [443]
    assert of_type(out, "serviceDetected") == []
    assert [problem.message for problem in problems_of(out)] == [f"3 port(s) of 10.0.0.5 not sent: {why}"]


def test_extraports_are_no_ports() -> None:
    out = inside(host('<ports><extraports state="closed" count="998"><extrareasons/></extraports></ports>'))
    assert [event["type"] for event in events_of(out)] == ["hostDiscovered"]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ('<service name="http"/>', {"service_name": "http"}),
        (
            '<service name="http" tunnel="ssl" product="nginx"/>',
            {"service_name": "ssl/http", "version": "nginx"},
        ),
        ('<service name="ssh" version="2" extrainfo="x"/>', {"service_name": "ssh", "version": "2 x"}),
        ('<service product="nginx"/>', None),
    ],
)
def test_services(service: str, expected: dict[str, str] | None) -> None:
    found = of_type(inside(host(port(service))), "serviceDetected")
    at = {"ip": "10.0.0.5", "port": 80, "protocol": "TCP"}
    assert found == ([at | expected] if expected else [])


def test_a_service_of_a_port_that_is_not_open_is_none() -> None:
    closed = (
        '<ports><port protocol="tcp" portid="1"><state state="closed"/><service name="x"/></port></ports>'
    )
    assert of_type(inside(host(closed)), "serviceDetected") == []


def test_a_host_that_is_down_is_not_announced() -> None:
    down = '<host><status state="down"/><address addr="10.0.0.9" addrtype="ipv4"/></host>'
    assert inside(down) == []


def test_the_address_is_the_ip_and_not_the_mac() -> None:
    addresses = '<address addr="00:11:22:33:44:55" addrtype="mac"/><address addr="fe80::1" addrtype="ipv6"/>'
    out = inside(f'<host><status state="up"/>{addresses}</host>')
    assert of_type(out, "hostDiscovered") == [{"ip": "fe80::1"}]


def test_a_phase_is_started_when_it_changes() -> None:
    tasks = ["Ping Scan", "Parallel DNS resolution of 256 hosts.", "SYN Stealth Scan", "SYN Stealth Scan"]
    tasks += ["Service scan", "NSE", "SYN Stealth Scan", "Service scan"]
    out = inside("".join(f'<taskbegin task="{task}"/><taskend task="{task}"/>' for task in tasks))
    assert [tuple(event.values()) for event in of_type(out, "phaseStarted")] == [
        ("ping_scan", 0),
        ("parallel_dns_resolution", 0),
        ("syn_stealth_scan", 0),
        ("syn_stealth_scan_2", 0),
        ("service_scan", 0),
        ("script_scan", 0),
        ("syn_stealth_scan_3", 0),
        ("service_scan_2", 0),
    ]


@pytest.mark.parametrize("name", ["services", "scripts", "ping", "udp"])
def test_none_of_its_percentages_is_nonsense_to_a_scans_state(name: str) -> None:
    progress = Progress()
    reports = [event for event in events_of(read(recording(name))) if "progress" in event]
    assert len(reports) > 1
    for at_s, event in enumerate(reports):
        progress.report(str(event["phase"]), float(str(event["progress"])), at_s)
    assert progress.nonsense == 0
    assert progress.per_phase == (len(progress.phases) > 1)


def test_scripts_are_a_phase_of_their_own_without_v() -> None:
    out = inside('<taskprogress task="NSE" percent="12.5"/>')
    assert events_of(out) == [
        {"type": "phaseStarted", "phase": "script_scan", "progress": 0},
        {"type": "scanProgress", "phase": "script_scan", "progress": 12.5, "message": "NSE: 12.5 % done"},
    ]


@pytest.mark.parametrize("percent", ["", "nan", "inf", "much"])
def test_a_percentage_that_is_none_is_left_out(percent: str) -> None:
    out = inside(f'<taskprogress task="Service scan" percent="{percent}"/>')
    assert [event["type"] for event in events_of(out)] == ["phaseStarted"]


def test_a_cve_is_found_once_a_port_and_once_a_host() -> None:
    script = '<script id="a" output="CVE-2021-0001"/><script id="b" output="CVE-2021-0001"/>'
    out = inside(host(port(script) + port(script, 81) + f"<hostscript>{script}</hostscript>"))
    assert [event.get("port") for event in of_type(out, "vulnerabilityFound")] == [80, 81, None]


def test_a_cve_outside_a_host_is_told_to_the_sender() -> None:
    (problem,) = inside('<prescript><script id="broadcast-x" output="CVE-2021-0001"/></prescript>')
    assert isinstance(problem, Problem)
    assert problem.message == "script 'broadcast-x' names a CVE, but no host; not sent"


def test_a_document_without_finished_is_an_error() -> None:
    out = read(HEAD + b"</nmaprun>")
    assert of_type(out, "error") == [{"message": "nmap ended early: its XML holds no <finished>"}]
    assert len(problems_of(out)) == 1


@pytest.mark.parametrize("up", ["", "many", "-1", "9e300", "nan"])
def test_a_count_of_hosts_that_is_none_is_left_out(up: str) -> None:
    out = read(HEAD + TAIL.replace(b'up="1"', f'up="{up}"'.encode()))
    assert of_type(out, "scanCompleted") == [{"duration": 1.5}]


def test_a_part_has_no_end_even_when_cut_off() -> None:
    out = read(recording("aborted"), part=True)
    assert terminals(out) == 0
    (error,) = of_type(out, "error")
    assert error["fatal"] is False
    assert of_type(out, "scanStarted") == []
