"""Runs benchmarks one after the other, each as a process of its own, within a bounded time.

    bin/bench [NAME...] [--quick | --full] [--list] [--draw]
    bin/bench NAME [OPTION...]

Without a name: all of them, about 19 minutes; with --quick 3, with --full some hours. Each prints its tables,
and writes its section of docs/BENCHMARKS.md, its figures as docs/benchmarks/NAME.json, and pictures of them.
With one name, options are its own, which `bin/bench NAME --help` tells; with options of its own it only
prints, unless --write is among them.

Debian packages that a benchmark needs, a compiler and the servers ours is compared with, are installed when
that is allowed: as root, or with sudo that asks for no password. Socket.IO is, where there is npm. What is
not there is left out, and that is said. One that takes three times as long as planned is ended.

options:
  --quick   the least that tells something
  --full    every cell, more runs
  --list    which benchmarks there are, what each asks, and how many minutes it takes
  --draw    make the tables and pictures of docs/BENCHMARKS.md anew from docs/benchmarks/*.json
  --help    this

exit code: 0; 1 when one could not measure; 2 usage; 130 Ctrl-C.
"""

from __future__ import annotations

import ast
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _document import draw, names
from _report import DOCS

HERE = Path(__file__).parent
ROOT = HERE.parent

ORDER = ("fanout", "throughput", "latency", "reference_scan", "scale")
"""The first ones; then the others."""
SCALE_OPTIONS = {"--quick": "quick", "--full": "full", "--smallest": "smallest"}
PATIENCE, LEAST_S = 3.0, 120.0


def ordered() -> list[str]:
    """Return all benchmarks."""
    there = names(HERE)
    return [name for name in ORDER if name in there] + [name for name in there if name not in ORDER]


def said(name: str) -> dict[str, Any]:
    """Return what a benchmark's file says of itself: `question`, and its constants MINUTES and PACKAGES."""
    tree = ast.parse((HERE / f"{name}.py").read_text())
    question = (ast.get_docstring(tree) or "").partition("\n")[0]
    found: dict[str, Any] = {"question": question, "MINUTES": {}, "PACKAGES": ()}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target in ("MINUTES", "PACKAGES"):
                found[target] = ast.literal_eval(node.value)
    return found


def tell(chosen: Sequence[str], scale: str) -> None:
    """Print what each of them asks and how long it takes."""
    total = 0.0
    for name in chosen:
        own = said(name)
        minutes = own["MINUTES"].get(scale, 0)
        total += minutes
        print(f"{name:18}{f'{minutes:g} min' if minutes else 'left out':>9}  {own['question']}")
    print(f"{'together':18}{f'{total:g} min':>9}", flush=True)


def install(chosen: Sequence[str]) -> None:
    """Install what they need, where that is allowed; say what is missing."""
    wanted = sorted({package for name in chosen for package in said(name)["PACKAGES"]})
    if not wanted:
        return
    done = subprocess.run(
        [ROOT / "bin" / ".packages", *wanted], stdout=subprocess.PIPE, text=True, check=False
    )
    if missing := done.stdout.split():
        print(f"missing: apt-get install {' '.join(missing)}", file=sys.stderr)
    peers = Path(sys.prefix) / "peers"
    if "npm" in wanted and shutil.which("npm") and not (peers / "node_modules" / "socket.io").exists():
        command = [
            "npm",
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--prefix",
            str(peers),
            "socket.io",
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def run(name: str, options: Sequence[str], minutes: float) -> bool:
    """Run one, and end it when it takes far too long; return whether it could measure."""
    if not set(options) & {"-h", "--help"}:
        print(f"\n--- {name}", flush=True)
    process = subprocess.Popen([sys.executable, str(HERE / f"{name}.py"), *options])
    limit_s = max(LEAST_S, minutes * 60 * PATIENCE) if minutes else None
    try:
        return process.wait(limit_s) == 0
    except subprocess.TimeoutExpired:
        print(f"error: {name} took more than {limit_s:.0f} s and is ended", file=sys.stderr)
        return False
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def fail(message: str) -> int:
    """Say what is wrong with the command line."""
    print(f"error: {message}", file=sys.stderr)
    return 2


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    at = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    chosen, options = arguments[:at], arguments[at:]
    there = ordered()
    for name in chosen:
        if name not in there:
            return fail(f"{name} is no benchmark; there are: {', '.join(there)}")
    if not chosen and set(options) & {"-h", "--help"}:
        print(__doc__.strip())
        return 0
    if options == ["--draw"]:
        draw(DOCS, chosen or there)
        return 0
    scale = SCALE_OPTIONS.get(options[0], "normal") if options else "normal"
    if options == ["--list"]:
        tell(chosen or there, scale)
        return 0
    if len(chosen) != 1 and (len(options) > 1 or (options and scale == "normal")):
        return fail(f"{' '.join(options)}: options of its own need one NAME before them; see --help")
    if not chosen:
        tell(there, scale)
        chosen = [name for name in there if said(name)["MINUTES"].get(scale)]
    if not set(options) & {"-h", "--help"}:
        install(chosen)
    began = time.monotonic()
    own = len(options) > (scale != "normal")  # they may ask for any length
    failed = [
        name for name in chosen if not run(name, options, 0 if own else said(name)["MINUTES"].get(scale, 0))
    ]
    if len(chosen) > 1:
        print(f"\n{len(chosen)} benchmarks in {(time.monotonic() - began) / 60:.1f} min", flush=True)
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
