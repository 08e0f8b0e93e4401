"""The steps that hold before a change is merged, each by its name: `nox -s tests`, `nox -s lint`, ...

`nox -l` lists them; `bash .ci/run` runs those that are not asked for by name only. Each step has an environment of its
own, in `.nox/`; `nox -r` keeps it for the next time.
"""

from __future__ import annotations

import ctypes.util
import json
import pathlib
import shutil
import subprocess
import sys
import tomllib

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["quick", "lint", "types"]
nox.options.error_on_missing_interpreters = False

ROOT = pathlib.Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
QUICK = ["tests/core", "tests/session", "tests/protocol", "tests/audio"]
RANDOM = [
    "tests/core/test_fuzz.py",
    "tests/core/test_hostile_server.py",
    "tests/core/test_machine.py",
    "tests/core/test_losing_machine.py",
    "tests/core/test_playing_machine.py",
    "tests/core/test_editing_machine.py",
    "tests/core/test_rolling_machine.py",
    "tests/emulator/test_fuzz.py",
    "tests/emulator/test_hostile_clients.py",
    "tests/session/test_hostile_sessions.py",
    "tests/integration/test_faulty_sessions.py",
    "tests/integration/test_hostile_input.py",
    "tests/integration/test_lost_connections.py",
    "tests/integration/test_lost_connections_with_faults.py",
]

# What starts whole programs or a browser, and so takes real time, runs on one Python only.
WHOLE_PROGRAMS = ["tests/browser", "tests/examples", "tests/cli", "tests/local", "tests/test_benchmarks.py"]


# Words that people read; what is misspelt on purpose is in pyproject.toml.
SPELLED = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs", "examples", "trealtime"]


# ---- tests ----------------------------------------------------------------------------------------------------------


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the part of the suite that answers within a minute."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *QUICK, *session.posargs)


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the suite, without whole programs, on the oldest and the newest Python here, and the quick part between."""
    session.install("-e", ".[test]")
    installed = [version for version in PYTHONS if _runs(f"python{version}")]
    between = session.python in installed[1:-1]
    chosen = QUICK if between else [f"--ignore={path}" for path in WHOLE_PROGRAMS]
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *session.posargs)


def _runs(python: str) -> bool:
    """Whether it is installed: pyenv has a command for versions that are not chosen, too."""
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@nox.session
def coverage(session: nox.Session) -> None:
    """Show the branches of the rooms that decide which no test takes."""
    session.install("-e", ".[test]")
    session.env["COVERAGE_FILE"] = str(pathlib.Path(session.create_tmp()) / "coverage")
    rooms = ["audio", "protocol", "core", "agents", "tools"]
    session.run("python", "-m", "coverage", "run", "-m", "pytest", "-q", "-n0", *(f"tests/{room}" for room in rooms))
    packages = ",".join(f"trealtime/{room.replace('core', '_core')}/*" for room in rooms)
    session.run("python", "-m", "coverage", "report", "--precision=1", f"--include={packages}")


@nox.session
def conformance(session: nox.Session) -> None:
    """Drive the emulator with other people's clients, each in an environment of its own."""
    session.install("-e", ".[test]", "openai")
    session.env["TREALTIME_CONFORMANCE"] = "1"
    session.run(
        "python", "-m", "pytest", "-q", "-n0", "tests/conformance", "tests/compat/test_programs.py", *session.posargs
    )


@nox.session
def speech(session: nox.Session) -> None:
    """Run the tests that hear and say real words."""
    session.install("-e", ".[test,local]")
    session.run("python", "-m", "pytest", "-q", "tests/local", "tests/emulator/test_engine_sets.py")
    session.run("python", "-m", "pytest", "-q", "tests/browser", "-k", "words")


@nox.session
def long(session: nox.Session) -> None:
    """Run ten times the random conversations that the suite has; `-- 50` runs fifty times."""
    session.install("-e", ".[test]")
    session.env["TREALTIME_TIMES"] = session.posargs[0] if session.posargs else "10"
    session.run("python", "-m", "pytest", "-q", *RANDOM, "-o", "faulthandler_timeout=3600")


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the core in small ways, one at a time, and list by module what no test noticed.

    It takes hours; `-- --sample 20` takes twenty changes of each module at random, `-- turns` one module.
    """
    session.install("-e", ".[test]", "cosmic-ray>=8.4")
    folder = pathlib.Path(session.create_tmp())
    session.run("python", ".ci/mutation.py", str(folder), *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure the library beside bare loops and rivals (`-- --peers`); arguments go to `python -m benchmarks`."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", *session.posargs)


# ---- words and types ------------------------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    session.install("ruff>=0.9", "codespell>=2.4")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", *SPELLED)


@nox.session
def types(session: nox.Session) -> None:
    """Check types: mypy and pyright, and how much of the public API they know without guessing."""
    session.install("-e", ".[test,dev,local]")
    session.run("mypy")
    session.run("mypy", *map(str, ROOT.glob("examples/*.py")), *map(str, ROOT.glob("tests/typing/*.py")))
    for folder in sorted(path for path in ROOT.glob("examples/*/") if list(path.glob("*.py"))):
        session.run("mypy", *map(str, sorted(folder.glob("*.py"))))
    python = ["--pythonpath", shutil.which("python", path=session.bin) or sys.executable]
    session.run("pyright", *python)
    # pyright counts inferred attributes of internal classes as gaps too, so the floor is below 1.
    told = session.run(
        *["pyright", *python, "--verifytypes", "trealtime", "--ignoreexternal", "--outputjson"],
        success_codes=[0, 1],
        silent=True,
    )
    score = json.loads(str(told))["typeCompleteness"]["completenessScore"]
    session.log(f"type completeness {score:.1%}")
    if score < 0.98:
        session.error("pyright --verifytypes trealtime --ignoreexternal: below 98 %")


@nox.session
def sdk(session: nox.Session) -> None:
    """Hold trealtime.compat to the OpenAI Agents SDK; list what its newest release adds (`-- 0.24.0`: that one)."""
    wanted = f"openai-agents=={session.posargs[0]}" if session.posargs else "openai-agents"
    session.install("-e", ".[test,dev]", "fastapi", wanted)
    session.run("python", "tests/compat/compare_sdk.py")
    session.run("python", "-m", "pytest", "-q", "-n0", "tests/compat")
    folder = pathlib.Path(session.create_tmp()) / "with the SDK"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "compat" / "programs", folder / "programs")
    for program in (folder / "programs").glob("*.py"):
        text = program.read_text(encoding="utf-8")
        program.write_text(text.replace("trealtime.compat", "agents"), encoding="utf-8")
    shutil.copy(ROOT / "tests" / "compat" / "pyrightconfig.json", folder)
    python = ["--pythonpath", shutil.which("python", path=session.bin) or sys.executable]
    for where in (ROOT / "tests" / "compat", folder):
        with session.chdir(where):
            session.run("mypy", "--strict", "-p", "programs")
            session.run("pyright", "-p", ".", *python)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, with warnings as errors, and search it in a browser."""
    session.install("-e", ".[docs,test]")
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", ".nox/html")
    session.env["TREALTIME_SITE"] = str(ROOT / ".nox" / "html")
    session.run("python", "-m", "pytest", "-q", "-n0", "tests/browser/test_docs_search.py")


# ---- what users run -------------------------------------------------------------------------------------------------


def _run_bounded(session: nox.Session, *arguments: str, within_s: float = 120, cwd: pathlib.Path | None = None) -> None:
    """Run Python in the session's environment, and fail if it does not end."""
    session.log(f"python {' '.join(arguments)}")
    python = shutil.which("python", path=session.bin)
    assert python is not None
    try:
        subprocess.run([python, *arguments], check=True, timeout=within_s, cwd=cwd)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        session.error(str(error))


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example on the emulator, and the scenarios of one."""
    session.install("-e", ".[test]")
    tmp = pathlib.Path(session.create_tmp()).resolve()
    question, answer, both = (str(tmp / name) for name in ("in.wav", "out.wav", "both.wav"))
    session.run("python", ".ci/speech.py", question)
    arguments = {
        "wav_turn.py": [[question, answer]],
        "console.py": [["--wav", question, both]],
    }
    for example in sorted(ROOT.glob("examples/*.py")):
        for given in arguments.get(example.name, [[]]):
            _run_bounded(session, str(example.resolve()), *given, cwd=tmp)
    _run_bounded(session, "examples/browser/server.py", "--check", "--port", "0")
    report = tmp / "evals.xml"
    _run_bounded(session, "-m", "trealtime", "eval", "examples/testing_your_agent", "--junit", str(report))
    _run_bounded(session, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/testing_your_agent")
    for written in (answer, both, report):
        if not pathlib.Path(written).stat().st_size:
            session.error(f"{written} is empty")


@nox.session
def dist(session: nox.Session) -> None:
    """Build what a release uploads, and check it as the index will."""
    session.install("build>=1.2", "twine>=6")
    folder = pathlib.Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder), silent=True)
    session.run("twine", "check", "--strict", *map(str, sorted(folder.iterdir())))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (wheel,) = folder.glob("*.whl")
    version = wheel.name.split("-")[1]
    if f"\n## {version} " not in changelog:
        session.error(f"CHANGELOG.md has no section of its own for {version}")


EXTRAS = {
    "local": ["onnxruntime", "hibari"],
    "http": ["httpx"],
    "web": ["quart_trio", "hypercorn"],
    "mcp": ["mcp"],
    "otel": ["opentelemetry.trace"],
    "eval": ["yaml"],
    "console": ["sounddevice"],
}
"""What each extra is there for."""

IMPORT_SMOKE = """
import pathlib, trealtime
for name in trealtime.__all__:
    getattr(trealtime, name)
assert (pathlib.Path(trealtime.__file__).parent / "py.typed").exists()
print("trealtime", trealtime.__version__, "resolves", len(trealtime.__all__), "names")
"""


@nox.session
def wheel(session: nox.Session) -> None:
    """Install the wheel plainly and extra by extra, so that an extra which breaks something is seen by its name."""
    tmp = pathlib.Path(session.create_tmp()).resolve()
    shutil.rmtree(tmp / "dist", ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "-qq", "--no-deps", "-w", str(tmp / "dist"), ".")
    (built,) = (tmp / "dist").glob("trealtime-*.whl")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    if unknown := declared.keys() - EXTRAS.keys() - {"test", "docs", "dev", "websockets"}:
        session.error(f"no step checks {', '.join(sorted(unknown))}: add it to EXTRAS in noxfile.py")
    session.install(str(built))
    session.chdir(tmp)  # where no checkout hides the installed package
    session.run("python", "-W", "error", "-c", IMPORT_SMOKE)
    session.run("trealtime", "--help", silent=True)
    for extra, modules in EXTRAS.items():
        session.install(f"{built}[{extra}]")
        if extra == "console" and not _has_portaudio():
            session.warn("sounddevice is not imported: PortAudio is missing")
        else:
            session.run("python", "-c", f"import {', '.join(modules)}")
        session.run("python", "-W", "error", "-c", IMPORT_SMOKE)


def _has_portaudio() -> bool:
    """Say whether sounddevice finds its library: its wheels for Linux bring none."""
    return sys.platform != "linux" or ctypes.util.find_library("portaudio") is not None
