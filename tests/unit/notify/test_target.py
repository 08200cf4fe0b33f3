"""Addresses of hooks: which can be used, and what of them is shown."""

from __future__ import annotations

import pytest

from pipeline.notify.target import shown_target, target_problem


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.org/T0/B1/hunter2", "https://hooks.example.org"),
        ("http://127.0.0.1:8080/x?key=hunter2", "http://127.0.0.1:8080"),
        ("https://me:hunter2@[::1]:443/", "https://[::1]:443"),
        ("HTTPS://Example.org", "https://example.org"),
    ],
)
def test_what_can_be_used_and_how_it_is_shown(url: str, shown: str) -> None:
    assert target_problem(url) is None
    assert shown_target(url) == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must begin with http:// or https://"),
        ("example.org/x", "must begin with http:// or https://"),
        ("file:///etc/passwd", "must begin with http:// or https://"),
        ("gopher://127.0.0.1:70/", "must begin with http:// or https://"),
        ("unix:///run/x", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://:80/x", "names no host"),
        ("http://me:hunter2@/x", "names no host"),
        ("http://example.org:0/", "port 0 cannot be connected to"),
        ("http://example.org:hunter2/", "its port is none"),
        ("http://example.org:99999/", "its port is none"),
        ("http://[::1/", "is no address"),
        ("http://example.org/#hunter2", "must have no #fragment"),
        ("http://example.org/a b", "must be printable ASCII without spaces"),
        ("http://example.org/\r\nHost: x", "must be printable ASCII without spaces"),
        ("http://ex\u00e4mple.org/", "must be printable ASCII without spaces"),
    ],
)
def test_what_cannot_be_used_is_told_without_showing_it(url: str, problem: str) -> None:
    assert target_problem(url) == problem
