"""The edge behind nginx, set up by docs/ops/nginx.conf: with the path taken away, and with it passed on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from pipeline import Emitter
from tests.e2e.test_up import free_port
from tests.harness import PATIENCE, Pipeline, deadline, next_sent

DOCUMENTED = Path(__file__).parents[2] / "docs" / "ops" / "nginx.conf"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed"),
]


def documented(public: int, edge: int, *, takes_away: bool) -> str:
    """Return the documented file, but for password and certificate, and with other ports."""
    told = re.sub(r".*(auth_basic|ssl_certificate|server_name).*\n", "", DOCUMENTED.read_text())
    for before, after in (
        (r"listen +443 ssl;", f"listen 127.0.0.1:{public};"),
        (r"server 127\.0\.0\.1:8800;", f"server 127.0.0.1:{edge};"),
        (r"http://scanstream/;", "http://scanstream/;" if takes_away else "http://scanstream;"),
    ):
        told, count = re.subn(before, after, told)
        assert count == 1, before
    return told


@contextmanager
def nginx(place: Path, inside: str) -> Iterator[None]:
    """Run nginx with these lines in its `http`."""
    config = place / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {place}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n"
        f"fastcgi_temp_path {place}/fcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n"
        f"{inside}\n}}\n"
    )
    process = subprocess.Popen([NGINX, "-p", str(place), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(20 * PATIENCE)


@pytest.mark.parametrize("takes_away", [True, False])
def test_a_page_below_a_path_of_nginxs_follows_a_scan(pipeline: Pipeline, takes_away: bool) -> None:
    port = free_port()
    base = "/" if takes_away else "/scans/"
    edge = f'[http]\nbase_path = "{base}"\nhosts = ["127.0.0.1"]\ntrusted_proxies = ["127.0.0.1"]\n'
    pipeline.start(config={"edge": edge})
    place = pipeline.run_dir.parent
    public = f"127.0.0.1:{port}"
    with nginx(place, documented(port, pipeline.port, takes_away=takes_away)):
        page = get(f"http://{public}/scans/")
        app = re.search(r'src="(static/[0-9a-f]{16}/app[.]js)"', page)
        assert app is not None
        assert "import" in get(f"http://{public}/scans/{app[1]}")
        with connect(
            f"ws://{public}/scans/ws/scans/demo",
            origin=f"http://{public}",
            compression=None,  # type: ignore[arg-type]
        ) as browser:
            assert json.loads(browser.recv(20 * PATIENCE))["type"] == "hello"
            with Emitter("demo", run_dir=str(pipeline.run_dir)) as emitter:
                emitter.emit({"type": "custom"})
                emitter.flush(20 * PATIENCE)
            assert json.loads(browser.recv(20 * PATIENCE))["events"] == [{"type": "custom"}]
            [told] = json.loads(get(f"http://{public}/scans/api/connections"))["connections"]
            assert (told["scans"], told["address"]) == (["demo"], "127.0.0.1")
        with urllib.request.urlopen(f"http://{public}/scans/sse/scans/demo", timeout=20 * PATIENCE) as stream:
            assert next_sent(stream)["type"] == "hello"


def get(url: str) -> str:
    """Return the answer; nginx may not listen yet."""
    end = deadline(20)
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20 * PATIENCE) as response:
                return str(response.read().decode())
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) or time.monotonic() > end:
                raise
