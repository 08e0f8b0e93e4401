"""The ground of every test: no key and no server of the developer's own reaches one, and some have quiet."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

try:
    import fcntl
except ImportError:  # Windows: tests that need quiet share the machine there
    fcntl = None  # type: ignore[assignment]

_ROOT = Path(__file__).resolve().parents[1]
_REFERENCE = _ROOT.parent / "shared" / "protocol"
"""The protocol reference, where it lies beside a developer's checkout."""

# Deadlines measure the wall clock, which a busy machine stretches; the examples themselves are what is asserted.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


# ---- several processes ----------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Keep a run of one file or folder in this process: starting workers takes longer than most files do."""
    chosen = config.args_source is pytest.Config.ArgsSource.ARGS and len(config.args) == 1
    return 0 if chosen and "PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ else None


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("r+b") as file:
        fcntl.flock(file, kind)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test that is marked `alone` run while no other process runs one of this checkout."""
    if fcntl is None:
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    with ExitStack() as stack:
        # Each test passes a door, so that one which waits there for quiet comes after those that run already.
        with _locked(Path(__file__), fcntl.LOCK_EX):
            stack.enter_context(_locked(_ROOT / "pyproject.toml", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


# ---- for all tests --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_service_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or URL in the developer's environment must not change what a test does, let alone reach a paid service."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def schema() -> ModuleType:
    """The protocol reference's validator: ``schema.validate("client" | "server", event)`` lists what is wrong.

    Its tests are skipped in a checkout that has no reference beside it.
    """
    if not _REFERENCE.is_dir():
        pytest.skip("the protocol reference is not beside this checkout")
    spec = importlib.util.spec_from_file_location("check_schema", _REFERENCE / "check_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("check_schema", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def validate(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], list[str]]:
    """What `schema` finds wrong in a client event, for tests that check more than that: nothing, in a checkout without
    the reference."""
    try:
        schema: ModuleType = request.getfixturevalue("schema")
    except pytest.skip.Exception:
        return lambda event: []
    return lambda event: schema.validate("client", event)
