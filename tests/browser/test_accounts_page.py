"""Signing in to an edge with accounts, in a real Chromium, before the real pipeline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import Emitter
from pipeline.tokens import mint
from tests.e2e.browsing import Dashboard
from tests.harness import PATIENCE, Pipeline

OpenPage = Callable[..., Dashboard]

pytestmark = pytest.mark.system

SECRET = b"a secret of more than thirty-two bytes"
PHONE = {"viewport": {"width": 390, "height": 844}}
DARK = {"color_scheme": "dark"}
HOSTILE = "ada<img src=x onerror=alert(1)>"


def token(subject: str, lasts_s: float = 600, **more: Any) -> str:
    now = time.time()  # noqa: TID251  # what a token says is wall clock
    claims = {"sub": subject, "iss": "scanstream", "aud": "scanstream", "iat": now - 60, "exp": now + lasts_s}
    return mint(SECRET, "HS256", {**claims, **more})


@pytest.fixture
def guarded(pipeline: Pipeline, tmp_path: Path) -> Iterator[Pipeline]:
    """Give a pipeline with accounts, with a scan of ada's and one of bob's."""
    (tmp_path / "secret").write_bytes(SECRET)
    pipeline.start(config={"edge": f'[accounts]\nsecret_file = "{tmp_path / "secret"}"\n'})
    with ExitStack() as stack:
        for scan, owner in (("of-ada", HOSTILE), ("of-bob", "bob")):
            emitter = stack.enter_context(Emitter(scan, run_dir=str(pipeline.run_dir)))
            emitter.emit({"type": "scanStarted", "name": scan, "owner": owner, "targets": ["10.0.0.1"]})
            emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.1"})
            emitter.flush(20 * PATIENCE)
        yield pipeline


def sign_in(dashboard: Dashboard, text: str) -> None:
    dashboard.page.get_by_label("Token", exact=True).fill(text)
    dashboard.page.keyboard.press("Enter")


def only_refusals(dashboard: Dashboard) -> None:
    """Check that nothing but answers that refuse was complained of, and forget them."""
    assert [each for each in dashboard.problems if not re.search(r"status of 40[13]", each)] == []
    dashboard.problems.clear()


@pytest.mark.parametrize("context", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_signing_in_leads_where_one_was_and_out_again(
    guarded: Pipeline, open_page: OpenPage, context: dict[str, object]
) -> None:
    dashboard = open_page(**context)
    page = dashboard.page
    page.goto(f"{guarded.url}/#/scan/of-ada")
    expect(dashboard.get("sign-in-view")).to_contain_text("pipeline token mint")
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) == 0, "nothing is wider than the page"
    sign_in(dashboard, "rubbish")
    expect(dashboard.get("sign-in-problem")).to_contain_text("That is no token")
    sign_in(dashboard, token("ada", lasts_s=-30))
    expect(dashboard.get("sign-in-problem")).to_contain_text(re.compile(r"expired \d+ s ago"))
    sign_in(dashboard, token(HOSTILE))
    expect(page.get_by_role("heading", name="of-ada")).to_be_visible()
    expect(page).to_have_url(re.compile(r"#/scan/of-ada$"))
    expect(dashboard.get("account")).to_have_text("ada<img src=x onerror=alert(1)>")
    assert page.evaluate(width) == 0, "nothing is wider than the page"
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    page.reload()
    expect(page.get_by_role("heading", name="of-ada")).to_be_visible()
    page.goto(f"{guarded.url}/#/")
    expect(page.locator("[data-scan-id]")).to_have_count(1)
    dashboard.get("sign-out").click()
    expect(dashboard.get("sign-in-view")).to_contain_text("You have signed out")
    expect(dashboard.get("account")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    expect(page.locator("body")).not_to_contain_text("of-ada")
    only_refusals(dashboard)


def test_files_are_saved_with_the_token(guarded: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    page = dashboard.page
    page.goto(f"{guarded.url}/#/scan/of-ada")
    sign_in(dashboard, token(HOSTILE))
    dashboard.get("export").click()
    with page.expect_download() as saving:
        dashboard.get("export-ndjson").click()
    assert saving.value.suggested_filename.endswith(".ndjson")
    assert "hostDiscovered" in Path(saving.value.path()).read_text()
    only_refusals(dashboard)


def test_when_a_token_is_over_one_signs_in_again_and_is_back(guarded: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    page = dashboard.page
    page.goto(f"{guarded.url}/#/past")
    sign_in(dashboard, token("bob", lasts_s=4 * PATIENCE))
    expect(dashboard.get("account")).to_have_text("bob")
    expect(dashboard.get("sign-in-problem")).to_contain_text("expired")
    sign_in(dashboard, token("bob"))
    expect(page.get_by_role("heading", name="Past scans", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"#/past$"))
    only_refusals(dashboard)


def test_what_is_for_admins_says_so(guarded: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    page = dashboard.page
    page.goto(f"{guarded.url}/#/pipeline")
    sign_in(dashboard, token("bob"))
    expect(dashboard.get("verdict")).to_have_text("This page needs a token with the role admin.")
    dashboard.get("sign-out").click()
    sign_in(dashboard, token("root", role="admin"))
    expect(dashboard.get("verdict")).to_contain_text("All")
    only_refusals(dashboard)


def test_without_accounts_nobody_is_asked(pipeline: Pipeline, open_page: OpenPage) -> None:
    pipeline.start()
    dashboard = open_page()
    dashboard.page.goto(f"{pipeline.url}/")
    expect(dashboard.get("empty")).to_be_visible()
    expect(dashboard.get("account")).to_be_hidden()


def test_without_websockets_a_ticket_opens_the_list(guarded: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    page = dashboard.page
    page.add_init_script("delete globalThis.WebSocket;")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{guarded.url}/")
    sign_in(dashboard, token(HOSTILE))
    expect(dashboard.get("scan-row")).to_have_count(1)
    assert any("/sse/stats?ticket=" in url for url in asked)
    assert not any("token=" in url for url in asked)
    only_refusals(dashboard)


def test_without_websockets_a_ticket_opens_the_stream(guarded: Pipeline, open_page: OpenPage) -> None:
    dashboard = open_page()
    page = dashboard.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{guarded.url}/")
    sign_in(dashboard, token(HOSTILE))
    expect(dashboard.get("account")).to_be_visible()
    found = page.evaluate(
        """(bearer) => import("./static/scanstream.js").then(({ ScanStream }) => new Promise((resolve) => {
          const types = [];
          const stream = new ScanStream({
            scanId: "of-ada", token: bearer, WebSocket: null,
            onMessages: (messages) => {
              for (const { type, epoch } of messages) types.push(epoch === null ? "nothing" : type);
              if (types.includes("batch")) { stream.close(); resolve(types); }
            },
            onState: ({ name, reason }) => name === "ended" && resolve([reason]),
          });
          stream.open();
        }))""",
        token(HOSTILE),
    )
    assert found[0] == "hello"
    assert "batch" in found
    assert any("/sse/scans/of-ada?since=start&ticket=" in url for url in asked)
    assert not any("token=" in url for url in asked)
    only_refusals(dashboard)
