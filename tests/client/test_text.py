"""What can be told of the JavaScript client without running it: its types, close codes, imports."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.edge.close_codes import CLOSE_CODES
from pipeline.subscription import FINAL_CLOSE_CODES

STATIC = Path(__file__).parents[2] / "pipeline" / "edge" / "static"
CODE = (STATIC / "scanstream.js").read_text()
TYPES = (STATIC / "scanstream.d.ts").read_text()
QUEUE = (STATIC / "scanstream_queue.js").read_text()
RULES = (STATIC / "scanstream_rules.js").read_text()
TOKEN_RULES = (STATIC / "scanstream_token_rules.js").read_text()
TRANSPORTS = (STATIC / "scanstream_transports.js").read_text()


def between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def test_exports() -> None:
    code = set(re.findall(r"^export (?:class|function|const) (\w+)", CODE, re.MULTILINE))
    assert code == {"ScanStream"}
    assert (
        set(re.findall(r"^export (?:declare )?(?:class|function|const) (\w+)", TYPES, re.MULTILINE)) == code
    )


def test_options() -> None:
    taken = set(
        re.findall(r"^    (\w+)(?: =|,)", between(CODE, "  constructor({\n", "\n  }) {"), re.MULTILINE)
    )
    told = set(
        re.findall(r"^  (\w+)\??:", between(TYPES, "interface ScanStreamOptions {", "\n}"), re.MULTILINE)
    )
    assert {"scanId", "since", "onMessages"} <= taken
    assert told == taken


def test_methods() -> None:
    members = r"^  (?:get )?([a-z]\w*)\("
    code = set(re.findall(members, between(CODE, "export class ScanStream {", "\n}\n"), re.MULTILINE))
    told = set(re.findall(members, between(TYPES, "export class ScanStream {", "\n}"), re.MULTILINE))
    assert {"open", "close", "position"} <= code
    assert told == code


def test_states() -> None:
    told = set(re.findall(r'"(\w+)"', between(TYPES, "  name: ", ";")))
    assert told == set(re.findall(r"^ \* \| (\w+) +\|", CODE, re.MULTILINE)) - {"state"}
    assert set(re.findall(r'#state\("(\w+)"', CODE)) | {"waiting", "live"} == told


def test_it_depends_on_its_own_files_alone() -> None:
    assert set(re.findall(r'from "([^"]+)"', CODE)) == {
        *("./scanstream_queue.js", "./scanstream_rules.js"),
        *("./scanstream_token_rules.js", "./scanstream_transports.js"),
    }
    assert not re.search(r"^import", QUEUE + RULES + TOKEN_RULES + TRANSPORTS, re.MULTILINE)


def test_both_clients_end_at_the_same_close_codes_and_the_page_explains_each() -> None:
    final = between(RULES, "FINAL_CLOSE_CODES = new Set([", "]")
    assert {int(code) for code in final.split(",")} == FINAL_CLOSE_CODES
    explained = re.findall(r"^  \[(\d{4}), ", RULES, re.MULTILINE)
    assert {code.code for code in CLOSE_CODES} | FINAL_CLOSE_CODES <= {int(code) for code in explained}
