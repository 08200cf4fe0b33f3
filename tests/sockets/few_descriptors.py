"""Runs the pipeline's command with few descriptors: `python -m tests.sockets.few_descriptors SOFT HARD …`."""

from __future__ import annotations

import resource
import sys

from pipeline.cli import main

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
    del sys.argv[1:3]
    main()
