"""HeroForge's reference scan, played: a /24, 256 hosts, ports 1-1000, 15,000 events in 60 s.

`emit --simulate heroforge` sends what comes from here, each event at its offset. Knows no clock and no
socket; the same seed and scan id give the same bytes, so that two runs, or two pipelines, can be compared.

The hosts, their services and their vulnerabilities are invented, but fit together: a port is found once,
on a host found before; a service, an enumeration or a vulnerability belongs to an open port found before.
Every third event is a scanProgress, whose percentage is that of the work done so far.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.event import Severity
from pipeline.event_json import encode_event

EVENTS = 15_000
"""How many events the scan has."""

EVENTS_PER_S = 250
"""How many of them fall into a second; they are evenly spaced, so the last one comes at 59.996 s."""

_HOSTS = 256
_OPEN_PORTS = 3_600
_SHUT_PORTS = 500
_ENUMERATIONS = 340
_FINDINGS = 2  # for each enumeration
_SERVICES = 3_000
_SUBDOMAINS = 120
_DNS_ONLY = (("MX", "10 mail.example.test"), ("NS", "ns1.example.test"), ("TXT", "v=spf1 mx -all"))
_VPN = "office-gateway"
_DOMAIN = "example.test"

# HeroForge's phases, and the percentage at which each begins.
_PHASES = (
    ("discovery", 0),
    ("port_scan", 20),
    ("service_detection", 40),
    ("enumeration", 50),
    ("os_fingerprint", 70),
    ("vuln_scan", 85),
)
_OS_PROGRESS = 300
_SYSTEMS = (
    "Linux 5.15",
    "Linux 4.19",
    "Windows Server 2019",
    "Windows 10 22H2",
    "FreeBSD 13.2",
    "RouterOS 7.10",
)
_NAMES = ("web", "mail", "db", "files", "print", "build", "desk", "cam", "phone", "switch")

# port, protocol, weight (how often it is open), service, versions met
_KNOWN_PORTS: tuple[tuple[int, str, int, str, tuple[str | None, ...]], ...] = (
    (21, "TCP", 4, "ftp", ("vsftpd 3.0.3", "ProFTPD 1.3.5e", "Microsoft ftpd")),
    (22, "TCP", 9, "ssh", ("OpenSSH 8.9p1 Ubuntu 3ubuntu0.6", "OpenSSH 7.4", "Dropbear sshd 2020.81")),
    (23, "TCP", 2, "telnet", ("BusyBox telnetd", None)),
    (25, "TCP", 4, "smtp", ("Postfix smtpd", "Exim smtpd 4.94.2")),
    (53, "TCP", 3, "domain", ("ISC BIND 9.16.23", "dnsmasq 2.86")),
    (53, "UDP", 3, "domain", ("ISC BIND 9.16.23", "dnsmasq 2.86")),
    (69, "UDP", 1, "tftp", (None,)),
    (
        80,
        "TCP",
        9,
        "http",
        ("Apache httpd 2.4.49", "nginx 1.18.0", "Microsoft IIS httpd 10.0", "lighttpd 1.4.59"),
    ),
    (88, "TCP", 2, "kerberos-sec", ("Microsoft Windows Kerberos",)),
    (110, "TCP", 3, "pop3", ("Dovecot pop3d",)),
    (111, "TCP", 5, "rpcbind", ("2-4 (RPC #100000)",)),
    (123, "UDP", 4, "ntp", ("NTP v4 (unsynchronized)",)),
    (135, "TCP", 6, "msrpc", ("Microsoft Windows RPC",)),
    (137, "UDP", 3, "netbios-ns", ("Microsoft Windows netbios-ns",)),
    (139, "TCP", 6, "netbios-ssn", ("Microsoft Windows netbios-ssn", "Samba smbd 3.X - 4.X")),
    (143, "TCP", 3, "imap", ("Dovecot imapd",)),
    (161, "UDP", 4, "snmp", ("net-snmp SNMPv3 server", "SNMPv1 server (public)")),
    (389, "TCP", 3, "ldap", ("OpenLDAP 2.4.57", "Microsoft Windows Active Directory LDAP")),
    (443, "TCP", 9, "https", ("Apache httpd 2.4.49", "nginx 1.18.0", "Microsoft IIS httpd 10.0")),
    (445, "TCP", 7, "microsoft-ds", ("Samba smbd 4.13.17", "Windows Server 2019 microsoft-ds")),
    (465, "TCP", 2, "smtps", ("Postfix smtpd",)),
    (500, "UDP", 2, "isakmp", (None,)),
    (514, "UDP", 2, "syslog", (None,)),
    (515, "TCP", 3, "printer", ("CUPS lpd", None)),
    (548, "TCP", 2, "afp", ("Netatalk 3.1.12",)),
    (554, "TCP", 3, "rtsp", ("Hikvision 7513 POE IP camera rtspd", "GStreamer rtspd")),
    (587, "TCP", 3, "submission", ("Postfix smtpd",)),
    (631, "TCP", 4, "ipp", ("CUPS 2.3",)),
    (636, "TCP", 2, "ldaps", ("OpenLDAP 2.4.57",)),
    (873, "TCP", 2, "rsync", ("protocol version 31",)),
    (902, "TCP", 2, "vmware-auth", ("VMware Authentication Daemon 1.10",)),
    (990, "TCP", 1, "ftps", ("FileZilla ftpd 0.9.60",)),
    (993, "TCP", 3, "imaps", ("Dovecot imapd",)),
    (995, "TCP", 3, "pop3s", ("Dovecot pop3d",)),
    (1000, "TCP", 1, "cadlock", (None,)),
)

# service, CVE (None: a weakness without one), severity, title
_WEAKNESSES: tuple[tuple[str, str | None, Severity, str], ...] = (
    ("http", "CVE-2021-41773", "Critical", "Apache httpd 2.4.49 path traversal and remote code execution"),
    ("microsoft-ds", "CVE-2017-7494", "Critical", "Samba remote code execution from a writable share"),
    ("smtp", "CVE-2019-10149", "Critical", "Exim remote command execution"),
    ("ftp", "CVE-2015-3306", "High", "ProFTPD mod_copy lets anybody read and write files"),
    ("https", "CVE-2023-44487", "High", "HTTP/2 rapid reset denial of service"),
    ("snmp", "CVE-1999-0517", "High", "SNMP community name is the default"),
    ("ssh", "CVE-2018-15473", "Medium", "OpenSSH user name enumeration"),
    ("https", "CVE-2016-2183", "Medium", "TLS accepts 64-bit block ciphers (SWEET32)"),
    ("ldap", None, "Medium", "LDAP allows anonymous bind"),
    ("http", None, "Low", "HTTP server discloses its version"),
    ("telnet", None, "Low", "Telnet sends credentials in clear text"),
    ("ssh", None, "Info", "SSH offers password authentication"),
    ("rpcbind", None, "Info", "rpcbind lists its programs to anybody"),
)

_ENUMERATED = {
    "http": ("directory", ("/admin/", "/backup/", "/.git/HEAD", "/server-status", "/login")),
    "https": ("certificate", ("CN=intranet.example.test", "expired 12 days ago", "signed with SHA-1")),
    "ftp": ("anonymous_login", ("allowed, read only", "allowed, writable upload/")),
    "smtp": ("user", ("postmaster", "admin", "backup")),
    "microsoft-ds": ("share", ("IPC$", "public (read)", "scans (read, write)", "ADMIN$")),
    "snmp": ("system", ("sysName.0 = switch-3", "sysDescr.0 = HP ProCurve 2530")),
    "ldap": ("naming_context", ("dc=example,dc=test",)),
    "ssh": ("host_key", ("ssh-ed25519 256", "ssh-rsa 2048")),
}

_Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Port:
    ip: str
    number: int
    protocol: str
    service: str
    version: str | None


def heroforge(seed: int, scan_id: str) -> Iterator[tuple[float, bytes]]:
    """Play HeroForge's reference scan.

    Every type of the catalogue that a scan sends occurs; those of reports, and those that the pipeline
    adds itself, do not. 10 events are critical; one error is among them, with `"fatal": false`.

    Args:
        seed: what the invented network depends on; another seed gives another one, of the same size.
        scan_id: said in scanStarted and scanCompleted, as HeroForge does; any text.

    Yields:
        `EVENTS` pairs (offset in seconds from the start, rising by 1 / `EVENTS_PER_S`; the event's JSON).
    """
    rng = random.Random(seed)  # noqa: S311  a simulation, and it must repeat
    hosts = [f"10.0.0.{number}" for number in range(_HOSTS)]
    names = {
        ip: f"{rng.choice(_NAMES)}-{index}.{_DOMAIN}" for index, ip in enumerate(hosts) if rng.random() < 0.6
    }
    open_ports, shut_ports = _ports(rng, hosts)
    identified = rng.sample(open_ports, _SERVICES)

    facts: dict[str, list[_Fields]] = {
        "discovery": _discovery(rng, hosts, names),
        "port_scan": _port_scan(rng, open_ports, shut_ports),
        "service_detection": [_service(port) for port in identified],
        "enumeration": _enumeration(rng, identified),
        "os_fingerprint": [
            {
                "type": "error",
                "message": f"no answer from {rng.choice(hosts)} to 3 of 16 probes",
                "fatal": False,
            }
        ],
    }
    opening: list[_Fields] = [
        {"type": "scanStarted", "scan_id": scan_id},
        {"type": "vpnConnecting", "config_name": _VPN},
        {"type": "vpnError", "config_name": _VPN, "message": "TLS handshake timed out; trying again"},
        {"type": "vpnConnecting", "config_name": _VPN},
        {"type": "vpnConnected", "config_name": _VPN, "assigned_ip": "10.8.0.6"},
    ]
    closing: list[_Fields] = [
        {"type": "vpnDisconnecting", "config_name": _VPN},
        {"type": "vpnDisconnected", "config_name": _VPN},
        {
            "type": "scanCompleted",
            "scan_id": scan_id,
            "duration": (EVENTS - 1) / EVENTS_PER_S,
            "total_hosts": _HOSTS,
        },
    ]
    fixed = len(opening) + len(closing) + len(_PHASES)
    found = sum(map(len, facts.values()))
    progress_events = EVENTS // 3
    facts["vuln_scan"] = _weaknesses(rng, identified, EVENTS - progress_events - fixed - found)

    body = _phases(rng, facts, progress_events, hosts)
    for index, fields in enumerate([*opening, *body, *closing]):
        yield index / EVENTS_PER_S, encode_event(fields)


def _ports(rng: random.Random, hosts: list[str]) -> tuple[list[_Port], list[tuple[str, int, str, str]]]:
    """Return the open ports, and those that are not as (ip, port, protocol, state); no port twice."""
    candidates = [(ip, known) for ip in hosts for known in _KNOWN_PORTS]
    # Sorting by random() ** (1 / weight) draws without replacement, in proportion to the weights
    # (Efraimidis and Spirakis 2006).
    drawn = sorted(candidates, key=lambda entry: rng.random() ** (1 / entry[1][2]), reverse=True)
    open_ports = [
        _Port(ip, number, protocol, service, rng.choice(versions))
        for ip, (number, protocol, _weight, service, versions) in drawn[:_OPEN_PORTS]
    ]
    shut_ports = [
        (ip, known[0], known[1], rng.choice(("Closed", "Filtered", "Filtered")))
        for ip, known in drawn[_OPEN_PORTS : _OPEN_PORTS + _SHUT_PORTS]
    ]
    return open_ports, shut_ports


def _discovery(rng: random.Random, hosts: list[str], names: dict[str, str]) -> list[_Fields]:
    found: list[_Fields] = []
    for ip in hosts:
        host: _Fields = {"type": "hostDiscovered", "ip": ip}
        if ip in names:
            host["hostname"] = names[ip]
        found.append(host)
        if ip in names:
            found.append({"type": "dnsRecordFound", "domain": names[ip], "record_type": "A", "value": ip})
    for record_type, value in _DNS_ONLY:
        found.append(
            {"type": "dnsRecordFound", "domain": _DOMAIN, "record_type": record_type, "value": value}
        )
    found.extend(
        {"type": "subdomainFound", "subdomain": f"{rng.choice(_NAMES)}{number}.{_DOMAIN}"}
        for number in range(_SUBDOMAINS)
    )
    return found


def _port_scan(
    rng: random.Random, open_ports: list[_Port], shut_ports: list[tuple[str, int, str, str]]
) -> list[_Fields]:
    states = [(port.ip, port.number, port.protocol, "Open") for port in open_ports] + shut_ports
    rng.shuffle(states)
    return [
        {"type": "portFound", "ip": ip, "port": number, "protocol": protocol, "state": state}
        for ip, number, protocol, state in states
    ]


def _service(port: _Port) -> _Fields:
    fields: _Fields = {
        "type": "serviceDetected",
        "ip": port.ip,
        "port": port.number,
        "service_name": port.service,
    }
    if port.version:
        fields["version"] = port.version
    return fields


def _enumeration(rng: random.Random, identified: list[_Port]) -> list[_Fields]:
    suited = [port for port in identified if port.service in _ENUMERATED]
    events: list[_Fields] = []
    for port in rng.sample(suited, _ENUMERATIONS):
        at: _Fields = {"ip": port.ip, "port": port.number}
        finding_type, values = _ENUMERATED[port.service]
        events.append({"type": "enumerationStarted", **at, "service_type": port.service})
        found = rng.sample(values, min(_FINDINGS, len(values)))
        events.extend(
            {"type": "enumerationFinding", **at, "finding_type": finding_type, "value": value}
            for value in found
        )
        events.append({"type": "enumerationCompleted", **at, "findings_count": len(found)})
    return events


def _weaknesses(rng: random.Random, identified: list[_Port], count: int) -> list[_Fields]:
    """Return `count` vulnerabilities, no pair of port and title twice, by port."""
    pairs = [(port, weak) for port in identified for weak in _WEAKNESSES if weak[0] == port.service]
    chosen = sorted(rng.sample(range(len(pairs)), count))
    events: list[_Fields] = []
    for port, (_service_name, cve_id, severity, title) in (pairs[index] for index in chosen):
        event: _Fields = {"type": "vulnerabilityFound", "ip": port.ip, "port": port.number}
        if cve_id:
            event["cve_id"] = cve_id
        events.append({**event, "severity": severity, "title": title})
    return events


def _phases(
    rng: random.Random, facts: dict[str, list[_Fields]], progress_events: int, hosts: list[str]
) -> Iterator[_Fields]:
    """Yield each phase's start and, evenly mixed, its facts and its share of the progress events."""
    left = progress_events - _OS_PROGRESS
    facts_left = sum(len(events) for phase, events in facts.items() if phase != "os_fingerprint")
    ends = [percent for _phase, percent in _PHASES[1:]] + [100]
    for (phase, begin), end in zip(_PHASES, ends, strict=True):
        yield {"type": "phaseStarted", "phase": phase, "progress": begin}
        events = facts[phase]
        if phase == "os_fingerprint":
            share = _OS_PROGRESS
        else:
            share = round(left * len(events) / facts_left)
            left -= share
            facts_left -= len(events)
        yield from _mixed(rng, phase, begin, end, events, share, hosts)


def _mixed(
    rng: random.Random, phase: str, begin: int, end: int, events: list[_Fields], share: int, hosts: list[str]
) -> Iterator[_Fields]:
    total = len(events) + share
    told = 0
    for done in range(1, total + 1):
        due = done * share // total
        if due == told:
            yield events[done - 1 - told]
            continue
        told = due
        host = hosts[(done - 1) * len(hosts) // total]
        if phase == "os_fingerprint":
            message = f"{host}: {rng.choice(_SYSTEMS)}, {rng.randint(85, 99)} % sure"
        else:
            message = f"{phase.replace('_', ' ')}: {done} of {total} steps"
        progress = round(begin + (end - begin) * done / total, 2)
        yield {"type": "scanProgress", "phase": phase, "progress": progress, "message": message}
