"""Ingest in front of the shared broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.door import Door, opened


@pytest.fixture
async def door(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Door]:
    """Ingest with the shipped settings."""
    async with opened(kafka_bootstrap, tmp_path) as ready:
        yield ready
