"""A real headless Chromium, and the dashboard as a person finds it in there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.harness import PATIENCE

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
WAIT_MS = 30_000 * PATIENCE

expect.set_options(timeout=WAIT_MS)


def chromium_program() -> str | None:
    """Return the path of Chromium: of the form that has no windows, if it is there, which costs a third."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser; it is gone afterwards.

    A session-wide one would keep Playwright's event loop running in this thread, where asyncio tests run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_program(), args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Dashboard:
    """One page of the dashboard.

    Args:
        page: an empty page.
        url: the edge's address.

    Attributes:
        page: the page.
        problems: dialogs, uncaught errors and console errors: there should be none.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._console)

    def _dialog(self, dialog: object) -> None:
        self.problems.append(f"dialog: {dialog}")
        dialog.dismiss()  # type: ignore[attr-defined]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def open_list(self) -> None:
        """Show the list of scans."""
        self.page.goto(f"{self.url}/")

    def open_scan(self, scan_id: str) -> None:
        """Show one scan."""
        self.page.goto(f"{self.url}/#/scan/{scan_id}")

    def get(self, testid: str) -> Locator:
        """Return what carries this test id."""
        return self.page.get_by_test_id(testid)

    def text(self, testid: str) -> str:
        """Return the text of what carries this test id."""
        return self.get(testid).inner_text()

    def number(self, testid: str) -> int:
        """Return a count that the page shows."""
        return int("".join(digit for digit in self.text(testid) if digit.isdigit()))

    def expect_status(self, status: str) -> None:
        """Wait until the scan's status is this."""
        expect(self.get("status")).to_have_text(status)

    def expect_connection(self, state: str) -> None:
        """Wait until the connection is in this state."""
        expect(self.get("connection-state")).to_have_attribute("data-state", state)

    def expect_seq(self, seq: int) -> None:
        """Wait until the page stands at this event."""
        expect(self.get("position")).to_have_text(re.compile(rf":{seq}$"))

    def ledger(self) -> dict[str, int]:
        """Return what the page says it received."""
        names = ("frames", "events", "merged", "filtered", "missed")
        return {name: self.number(f"{name}-total") for name in names}

    def figures(self) -> dict[str, int]:
        """Return what the page says was found, and the progress in percent."""
        figures = {name: self.number(f"{name}-count") for name in ("hosts", "ports", "services", "vulns")}
        progress = self.get("progress").get_attribute("aria-valuenow")
        return {**figures, "progress": int(progress or -1)}
