"""The HTML report: whole, without anything that runs or is fetched, whatever the scan says."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.export.hosts import HostEntry, PortEntry, VulnerabilityEntry
from pipeline.edge.export.report import MAX_WORST, Worst, read_facts, report_end, report_head, report_hosts

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' style='x'\x1b\u202e"


class Parsed(HTMLParser):
    """The elements, attributes and text of a report."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(hosts: list[HostEntry], **facts: object) -> str:
    worst = Worst()
    worst.take(hosts)
    told = read_facts(msgspec.json.encode({"status": "completed", **facts}))
    parts = report_head("a", told, worst), report_hosts(hosts), report_end(told)
    return b"".join(parts).decode()


def evil_report(text: str) -> str:
    host = HostEntry(
        text, text, 1, 2, [PortEntry(22, text, text, text, text)], 1, [VulnerabilityEntry(text, text, text)]
    )
    return report(
        [host], name=text, targets=[text], labels={text: text}, owner=text, error=text, started_at=text,
        totals={"hosts": 1, "vulnerabilities": {"High": 1}},
    )  # fmt: skip


ELEMENTS = set(Parsed(evil_report("plain")).tags)
ATTRIBUTES = set(Parsed(evil_report("plain")).attributes)


def test_it_has_what_was_found() -> None:
    found = [VulnerabilityEntry("Low", "weak"), VulnerabilityEntry("Critical", "broken", "CVE-1")]
    hosts = [HostEntry("10.0.0.1", "gate", 1, 1, [PortEntry(22, "TCP", "Open", "ssh")], 2, found)]
    page = Parsed(
        report(hosts, name="Office", totals={"hosts": 1, "vulnerabilities": {"Low": 1, "Critical": 1}})
    )
    for text in ("Office", "10.0.0.1", "gate", "ssh", "broken", "CVE-1", "weak"):
        assert text in page.text
    assert page.text.index("broken") < page.text.index("weak"), "the worst first"
    assert page.open == []
    assert not ELEMENTS & {"script", "img", "link", "iframe", "object", "a", "form", "base"}
    assert not ATTRIBUTES & {"style", "src", "href", "onerror", "onload"}


def test_its_policy_allows_its_own_style_and_nothing_else() -> None:
    html = report([])
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{hashed}&#x27;" in policy
    assert policy.startswith("default-src &#x27;none&#x27;; ")
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in html.replace("http-equiv", "")


def test_hostile_text_is_text() -> None:
    html = evil_report(EVIL)
    page = Parsed(html)
    assert "alert(1)" in page.text
    assert (set(page.tags), page.attributes, page.open) == (ELEMENTS, ATTRIBUTES, [])
    assert not {"\x1b", "\u202e"} & set(html)


@given(st.text(alphabet=st.sampled_from("<>&\"'/=! -scriptyle\x00\n\u202e")))
def test_no_text_makes_an_element(text: str) -> None:
    page = Parsed(evil_report(text))
    assert set(page.tags) <= ELEMENTS
    assert page.attributes <= ATTRIBUTES
    assert page.open == []


def test_the_worst_are_bounded() -> None:
    worst = Worst()
    for number in range(MAX_WORST):
        worst.take([HostEntry(str(number), vulnerabilities=[VulnerabilityEntry("Info", "i")] * 3)])
    worst.take([HostEntry("last", vulnerabilities=[VulnerabilityEntry("Critical", "c")])])
    rows = worst.rows()
    assert len(rows) == MAX_WORST
    assert rows[0] == ("last", VulnerabilityEntry("Critical", "c"))
    assert rows[1][0] == "0"
