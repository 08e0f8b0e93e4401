"""Change modules of the core in small ways, one at a time, and list what no test notices.

`FOLDER [--sample N] [MODULE...]`:

A sample is N changes of each module, taken at random with a fixed seed; without one it is all of them, some ten seconds
each. Run by `nox -s mutation`. The work happens in a copy of the checkout below FOLDER, so an interrupted run leaves no
changed source behind; a second run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
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


def survivors(folder: Path, module: str, sample: int | None) -> str:
    """Run the changes of one module; return the report of those that survived."""
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
        _thin_out(session, sample)
    run("cosmic-ray", "exec", str(config), str(session))
    return run("cr-report", "--surviving-only", "--show-diff", str(session))


def _thin_out(session: Path, sample: int | None) -> None:
    """Keep this many of the changes that are to be tried; of those to `|` none, which here stands in annotations."""
    with sqlite3.connect(session) as database:
        order = (
            "SELECT job_id, operator_name FROM mutation_specs ORDER BY module_path, operator_name, occurrence, rowid"
        )
        found = [(job, "BinaryOperator_BitOr" in operator) for job, operator in database.execute(order)]
        jobs = [job for job, annotation in found if not annotation]
        kept = set(jobs if sample is None else random.Random(0).sample(jobs, min(sample, len(jobs))))
        for job, _ in found:
            if job not in kept:
                database.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
                database.execute("DELETE FROM work_items WHERE job_id = ?", (job,))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of the core (default: all)")
    parser.add_argument("--sample", type=int, metavar="N")
    options = parser.parse_intermixed_args()
    folder = options.folder.resolve()
    core = (ROOT / "trealtime" / "_core").glob("[a-z]*.py")
    modules = options.modules or sorted(path.stem for path in core)
    shutil.rmtree(folder / "copy", ignore_errors=True)
    (folder / "copy").mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "copy" / name)
    for module in modules:
        report = survivors(folder, module, options.sample)
        (folder / f"{module}.txt").write_text(report, encoding="utf-8")
        print(f"{module}: {' '.join(report.splitlines()[-3:])}", flush=True)
    print(f"the changes that survived are in {folder}")


if __name__ == "__main__":
    main()
