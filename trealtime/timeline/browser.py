"""Pictures as PNG, by a headless browser, if this machine has one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from trealtime.errors import MissingDependency

__all__ = ["find_browser", "screenshot"]

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_TIMEOUT_S: Final = 60.0
_SIZE: Final = re.compile(r'viewBox="0 0 ([0-9]+) ([0-9]+)"')


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome, None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name)) is not None), None)


def screenshot(svg: str) -> bytes:
    """Return the picture as PNG. Raises `MissingDependency` without a browser, RuntimeError when it fails."""
    browser = find_browser()
    if browser is None:
        raise MissingDependency("a timeline as PNG", extra="eval", system="Chromium or Chrome")
    found = _SIZE.search(svg)
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder, "timeline.html"), Path(folder, "timeline.png")
        page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{svg}', encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={Path(folder, 'profile')}",
            f"--window-size={found[1]},{min(int(found[2]), 16_000)}",
            f"--screenshot={picture}",
            page.as_uri(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{browser} made no picture within {_TIMEOUT_S:g} s") from error
        if not picture.exists():
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise RuntimeError(f"{browser} made no picture (exit status {done.returncode}): {said}")
        return picture.read_bytes()
