"""Change modules of the core in small ways, one at a time, and list what no test notices: FOLDER MODULE...

Run by `nox -s mutation`. The work happens in a copy of the checkout below FOLDER, so an interrupted run leaves no
changed source behind; a second run goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("trealtime", "tests", "docs", "pyproject.toml", "README.md")
CONFIG = """
[cosmic-ray]
module-path = "trealtime/_core/{module}.py"
timeout = 180.0
excluded-modules = []
test-command = "{python} -m pytest -q -x -n0 -p no:cacheprovider tests/core"

[cosmic-ray.distributor]
name = "local"
"""


def survivors(folder: Path, module: str) -> str:
    """Run every change of one module; return the report of those that survived."""
    config, session = folder / f"{module}.toml", folder / f"{module}.sqlite"
    config.write_text(CONFIG.format(module=module, python=sys.executable), encoding="utf-8")
    copy = folder / "copy"
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    tools = Path(sys.executable).parent

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(tools / command[0]), *command[1:]], cwd=copy, env=environment, check=True, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    if not session.exists():
        run("cosmic-ray", "init", str(config), str(session))
    run("cosmic-ray", "exec", str(config), str(session))
    return run("cr-report", "--surviving-only", "--show-diff", str(session))


def main() -> None:
    folder, modules = Path(sys.argv[1]).resolve(), sys.argv[2:]
    shutil.rmtree(folder / "copy", ignore_errors=True)
    (folder / "copy").mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "copy" / name)
    for module in modules:
        report = survivors(folder, module)
        (folder / f"{module}.txt").write_text(report, encoding="utf-8")
        print(f"{module}: {' '.join(report.splitlines()[-3:])}", flush=True)
    print(f"the changes that survived are in {folder}")


if __name__ == "__main__":
    main()
