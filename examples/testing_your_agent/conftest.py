"""The agent under test, for the fixtures of trealtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import restaurant

from trealtime import RealtimeAgent
from trealtime.emulator import DialogueBrain

pytest_plugins = ["trealtime.testing.pytest_plugin"]


@pytest.fixture
def realtime_agent() -> RealtimeAgent[Any]:
    return restaurant.host


@pytest.fixture
def emulator_options() -> Mapping[str, Any]:
    return {"brain": DialogueBrain()}
