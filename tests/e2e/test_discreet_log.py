"""What stands in the query of a request never reaches the log, whatever is wrong with the request."""

from __future__ import annotations

import http.client
from contextlib import closing

from tests.harness import PATIENCE, Pipeline
from tests.specs.test_documents import routes

CANARY = "canary-7f3a"
BROKEN = {"Content-Type": "multipart/form-data"}
"""A body that cannot be read: it has no boundary."""


def test_a_request_that_cannot_be_read_is_logged_without_its_query(pipeline: Pipeline) -> None:
    pipeline.start()
    for route in routes():
        path = route.replace("([^/]+)", "demo").replace("(.*)", "app.js").replace("()", "")
        for method, headers in (("GET", BROKEN), ("PUT", BROKEN), ("GET", {"Host": "evil.example"})):
            made = http.client.HTTPConnection("127.0.0.1", pipeline.port, timeout=20 * PATIENCE)
            with closing(made) as connection:
                connection.request(method, f"{path}?token={CANARY}&types={CANARY}", b"--x", headers)
                with connection.getresponse() as answer:
                    answer.read()
            assert 400 <= answer.status < 500, path
    process = pipeline.processes["edge-0"]
    process.terminate()
    assert process.lines
    assert CANARY not in str(process.lines)
