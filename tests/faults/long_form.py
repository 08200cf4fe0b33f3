"""Whether the faults are run in their long form: `bin/test --faults`."""

from __future__ import annotations

import os

LONG = os.environ.get("SCANSTREAM_FAULTS") == "long"
