"""Schemathesis asks a running edge what docs/openapi.yaml allows, and what it does not.

No answer is a mistake of the edge's, each is as the document tells it, and what is not allowed is refused.
The streams never end, so they are not asked. The long form asks for longer, at every boundary, and otherwise
each time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.faults.long_form import LONG
from tests.harness import PATIENCE, Pipeline
from tests.specs.printing import DOCS
from tests.specs.test_answers import ABOUT, FOUND, send

FAST = "requests_per_s = 100000\nrequest_burst = 100000\n"
OPEN = {"edge": f"[http_in]\n{FAST}[requests]\n{FAST}"}
PHASES, EXAMPLES = ("coverage,fuzzing", 300) if LONG else ("fuzzing", 25)
SEED = () if LONG else ("--seed", "1")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"
)


def test_the_edge_answers_as_its_description_says(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.start(config=OPEN)
    send(pipeline, "0", {"type": "scanStarted", **ABOUT}, *FOUND)  # what schemathesis asks for first
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(DOCS / "openapi.yaml")),
            *("--url", pipeline.url, "--exclude-path-regex", "^/sse/", "--continue-on-failure", "--no-color"),
            *("--phases", PHASES, "--max-examples", str(EXAMPLES), "--checks", CHECKS),
            *("--workers", "2", "--generation-database", "none", "--warnings", "off"),
            *SEED,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=(1_200 if LONG else 100) * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    asked = re.search(r"(\d+) generated", done.stdout)
    assert asked is not None, done.stdout[-2_000:]
    assert int(asked[1]) > 200
    lines = pipeline.processes["edge-0"].lines
    assert [line for line in lines if line.get("level") == "error"] == []
    assert pipeline.get("/readyz")[0] == 200
