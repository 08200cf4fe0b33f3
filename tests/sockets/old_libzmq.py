"""Runs the pipeline's command as if libzmq were another: `python -m tests.sockets.old_libzmq VERSION …`."""

from __future__ import annotations

import sys

import zmq

from pipeline.cli import main

if __name__ == "__main__":
    told = tuple(int(part) for part in sys.argv.pop(1).split("."))
    zmq.zmq_version_info = lambda: told  # type: ignore[assignment,return-value]
    main()
