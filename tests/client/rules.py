"""The rules both clients keep, as test vectors: rules.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("rules.json")
RULES: dict[str, list[dict[str, Any]]] = json.loads(PATH.read_text())
