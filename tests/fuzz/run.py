"""Fuzzes the decoders with atheris, each for its part of the time: `bin/fuzz`."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline"]):
    from tests.fuzz.decoders import DECODERS


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Feed one decoder until its time is over; end with a traceback at the first bytes it does not stand."""
    decoder = DECODERS[name]
    for number, seed in enumerate(decoder.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def read(data: bytes) -> None:
        with contextlib.suppress(*decoder.raises):
            decoder.read(data)

    options = [
        f"-max_total_time={seconds}",
        "-max_len=8192",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={os.getcwd()}/", str(corpus)], read)
    atheris.Fuzz()


def main() -> int:
    """Fuzz the decoders named, or all of them, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="bin/fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="DECODER", help=f"any of {', '.join(DECODERS)}; else all")
    parser.add_argument("--minutes", type=float, default=10, help="for all together (10)")
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    names = chosen.names or list(DECODERS)
    if unknown := sorted(set(names) - set(DECODERS)):
        parser.error(f"no decoder: {', '.join(unknown)}")
    if chosen.seconds is not None:
        with tempfile.TemporaryDirectory() as corpus:
            fuzz(names[0], chosen.seconds, Path(corpus))
        return 0
    seconds = max(1, round(chosen.minutes * 60 / len(names)))
    failed = []
    for name in names:
        print(f"{name}: {seconds} s", file=sys.stderr)
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            failed.append(name)
            print(done.stdout[-2_000:], done.stderr[-4_000:], sep="\n", file=sys.stderr)
    print(f"failed: {', '.join(failed)}" if failed else "all passed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
