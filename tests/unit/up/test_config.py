"""What `up` refuses to be told."""

from __future__ import annotations

import pytest

from pipeline.up.config import MIN_HUNG_S, MIN_MEMORY_BYTES, RestartSection, StagesSection, UpConfig


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        (UpConfig(), []),
        (UpConfig(restart=RestartSection(hung_s=0)), []),
        (UpConfig(restart=RestartSection(hung_s=MIN_HUNG_S)), []),
        (UpConfig(restart=RestartSection(max_memory_bytes=MIN_MEMORY_BYTES)), []),
        (
            UpConfig(restart=RestartSection(max_memory_bytes=1)),
            ["[restart] max_memory_bytes = 1: must be 0, or >= 134217728"],
        ),
        (UpConfig(restart=RestartSection(hung_s=0.1)), ["[restart] hung_s = 0.1: must be 0, or >= 0.5"]),
        (
            UpConfig(stages=StagesSection(workers=5), restart=RestartSection(hung_s=0.1)),
            [
                "[stages] workers = 5: must be <= shards (4)",
                "[restart] hung_s = 0.1: must be 0, or >= 0.5",
            ],
        ),
    ],
)
def test_problems(config: UpConfig, problems: list[str]) -> None:
    assert config.problems() == problems
