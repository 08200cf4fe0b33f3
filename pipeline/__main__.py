"""The `pipeline` command, and `python -m pipeline`: a Ctrl-C from the first moment on, then the command line.

Imports take a while, and a Ctrl-C in the middle of one would end in a traceback. Knows no command.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Import the command line, with a Ctrl-C that ends it there and then, and run it.

    Who started us with Ctrl-C ignored, as a shell does with `&`, keeps that.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from pipeline.cli import main as run

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
