"""A newcomer's path, timed: FOLDER is empty, and the package is installed as README says.

README's first command, its sound as the emulator's own ears hear it; a project of `trealtime init`, its tests and its
scenarios. The demo in a browser is in tests/browser/test_demo.py (`nox -s speech`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import trio

from trealtime.audio.levels import rms_dbfs
from trealtime.audio.wav import read_wav
from trealtime.emulator.local import speech_engines

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "PYTHONPATH")}


def run(folder: Path, *arguments: str, within_s: float) -> str:
    """Run Python in `folder`, and return what it has printed."""
    began = time.monotonic()
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s
    )
    print(f"{time.monotonic() - began:5.1f} s  python {' '.join(arguments)}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nexit status {done.returncode}")
    return done.stdout


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def heard(path: Path) -> list[str]:
    samples, rate = read_wav(path)
    seconds, level = len(samples) / rate, rms_dbfs(samples)
    print(f"         {path.name}: {seconds:.1f} s at {level:.0f} dBFS", flush=True)
    if seconds < 1 or not -35 < level < -15:
        sys.exit(f"{path} is no answer in a voice")
    engines = await speech_engines("local")
    return words(await engines.transcriber.transcribe(samples, rate))


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    shown = run(folder, str(ROOT / "examples" / "quickstart.py"), within_s=60)
    answer = words(shown.splitlines()[1].removeprefix("agent:"))
    if (recognised := trio.run(heard, folder / "hello.wav")) != answer:
        sys.exit(f"the agent said {answer}, and the emulator's own ears hear {recognised}")
    if "order_status(" not in shown:
        sys.exit(f"the spoken question was not answered with the tool:\n{shown}")

    run(folder, "-m", "trealtime", "init", "my_agent", within_s=30)
    project = folder / "my_agent"
    run(project, "-m", "pip", "install", "-q", "-e", ".[test]", within_s=300)
    run(project, "-m", "pytest", "-q", within_s=60)
    run(project, "-m", "trealtime", "eval", "scenarios", within_s=60)


if __name__ == "__main__":
    main()
