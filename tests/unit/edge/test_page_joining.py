"""The page's modules and style sheets as one: what is in the whole, in which order, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.edge.page_joining import CannotJoin, joined
from tests.harness import PATIENCE

STATIC = Path(__file__).parents[3] / "pipeline" / "edge" / "static"


def join(**modules: str) -> str:
    """Return the whole of modules that are given as `name="text"`; `app` is the first."""
    contents = {f"{name}.js": text.encode() for name, text in modules.items()}
    return joined(contents)["app.js"].decode()


def printed(script: str) -> object:
    """Return what a script prints, as JSON, when it is run as a module."""
    return json.loads(node(script))


def node(script: str, *options: str) -> str:
    program = shutil.which("node")
    assert program is not None, "needs the Debian package nodejs"
    command = [program, "--input-type=module", *options, "-"]
    ran = subprocess.run(command, input=script, capture_output=True, text=True, timeout=30 * PATIENCE)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.system
def test_the_whole_does_what_the_modules_do() -> None:
    whole = join(
        app=(
            'import { Counter, twice } from "./part.js";\nimport { LIMIT } from "./limits.js";\n'
            "const hidden = new Counter(twice(LIMIT));\n"
            "console.log(JSON.stringify([hidden.value, typeof later]));\n"
        ),
        part=(
            'import { LIMIT } from "./limits.js";\nconst hidden = 1;\n'
            "export class Counter {\n  constructor(start) { this.value = start + hidden + LIMIT; }\n}\n"
            "export function twice(number) {\n  return 2 * number;\n}\nexport async function later() {}\n"
        ),
        limits="export const LIMIT = 20;\n",
    )
    assert printed(whole) == [61, "undefined"]


def test_a_module_stands_once_and_behind_what_it_needs() -> None:
    whole = join(
        app='import { a } from "./a.js";\nimport { b } from "./b.js";\na(b);\n',
        a='import { b } from "./b.js";\nexport function a() {\n  return b;\n}\n',
        b="export const b = 1;\n",
        unused="export const c = 1;\n",
    )
    assert re.findall(r"^const \$(\w+) = ", whole, re.MULTILINE) == ["b", "a", "app"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('import other from "./b.js";', "import other"),
        ('import * as other from "./b.js";', "import *"),
        ('import { b as c } from "./b.js"', "import { b as c }"),
        ('import "./b.js";', 'import "./b.js"'),
        ('import { b } from "https://elsewhere.example/b.js";', "elsewhere"),
        ("export default 1;", "export default"),
        ('export { b } from "./b.js";', "export { b }"),
        ('export * from "./b.js";', "export *"),
        ("export let changing = 1;", "export let"),
    ],
)
def test_what_it_does_not_know_is_refused_with_the_line(line: str, named: str) -> None:
    with pytest.raises(CannotJoin, match=re.escape(named)) as raised:
        join(
            app='import { a } from "./a.js";\n', a=f"{line}\nexport const a = 1;\n", b="export const b = 1;\n"
        )
    assert str(raised.value).startswith("a.js: ")


def test_modules_that_need_each_other_are_refused() -> None:
    with pytest.raises(CannotJoin, match=re.escape("a.js: needs itself, by app.js -> a.js -> b.js -> a.js")):
        join(
            app='import { a } from "./a.js";\n',
            a='import { b } from "./b.js";\nexport const a = 1;\n',
            b='import { a } from "./a.js";\nexport const b = 1;\n',
        )


def test_a_file_that_is_not_there_is_named_with_who_needs_it() -> None:
    with pytest.raises(CannotJoin, match=re.escape("app.js: there is no file 'gone.js'")):
        join(app='import { a } from "./gone.js";\n')
    with pytest.raises(CannotJoin, match=re.escape("page.css: there is no file 'gone.css'")):
        joined({"page.css": b'@import "gone.css";\n'})


def test_style_sheets_stand_in_the_order_in_which_they_are_named() -> None:
    whole = joined(
        {"page.css": b'@import "b.css";\n@import "a.css";\n', "a.css": b"a {}\n", "b.css": b"b {}\n"}
    )
    assert whole["page.css"].split() == [b"b", b"{}", b"a", b"{}"]


def test_all_else_stays_as_it_is() -> None:
    contents = {"icon.svg": b"<svg/>", "part.js": b"export const a = 1;\n", "index.html": b"<p>"}
    assert joined(contents) == contents


@pytest.mark.system
def test_the_dashboard_is_whole() -> None:
    contents = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    whole = joined(contents)
    named = re.findall(r"^const \$(\w+) = ", whole["app.js"].decode(), re.MULTILINE)
    assert {f"{name}.js" for name in named} == {name for name in contents if name.endswith(".js")}
    assert b"@import" not in whole["page.css"]
    styles = {name for name in contents if name.endswith(".css")} - {"page.css"}
    assert all(contents[name] in whole["page.css"] for name in styles)
    node(whole["app.js"].decode(), "--check")
