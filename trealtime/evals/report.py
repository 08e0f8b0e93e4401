"""Reports of the results of scenarios: as text, and for CI as JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from trealtime.evals.running import ScenarioResult, StepResult

__all__ = ["junit_report", "text_report"]


def text_report(result: ScenarioResult, *, verbose: bool = False) -> str:
    """Return a report on a scenario: one line if it passed, else the conversation and where it went wrong.

    With `verbose`, the conversation of a scenario that passed is in it, too.
    """
    mark = "ok  " if result.passed else "FAIL"
    lines = [f"{mark} {result.scenario.file}: {result.scenario.name} ({result.seconds:.1f} s)"]
    if verbose or not result.passed:
        for step in result.steps:
            lines += [f"       {line}" for line in _conversation(step)]
            lines += [f"  {result.scenario.file}:{step.step.line}: {failure}" for failure in step.failures]
        if result.error is not None:
            lines.append(f"  {result.scenario.file}:{result.scenario.line}: {result.error}")
    return "\n".join(lines)


def junit_report(results: Sequence[ScenarioResult]) -> str:
    """Return the results as JUnit XML: a test suite for each file, a test case for each scenario."""
    root = ET.Element("testsuites", name="trealtime eval")
    files = list(dict.fromkeys(result.scenario.file for result in results))
    for file in files:
        of_file = [result for result in results if result.scenario.file == file]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=str(file),
            tests=str(len(of_file)),
            failures=str(sum(not result.passed and result.error is None for result in of_file)),
            errors=str(sum(result.error is not None for result in of_file)),
            time=f"{sum(result.seconds for result in of_file):.3f}",
        )
        for result in of_file:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=str(file.with_suffix("")).replace("/", "."),
                name=result.scenario.name,
                file=str(file),
                line=str(result.scenario.line),
                time=f"{result.seconds:.3f}",
            )
            if not result.passed:
                told = text_report(result)
                first = result.error or next(failure for step in result.steps for failure in step.failures)
                kind = "failure" if result.error is None else "error"
                ET.SubElement(case, kind, message=_clean(first)).text = _clean(told)
                if result.timeline is not None:
                    ET.SubElement(case, "system-out").text = _clean(result.timeline.text())
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _conversation(result: StepResult) -> Iterator[str]:
    step, heard = result.step, result.heard
    if step.wait_s is not None:
        yield f"({step.wait_s:g} s)"
    else:
        yield f"user: {step.say if step.speak is None else f'{step.speak} (spoken)'}"
    for name, arguments in heard.calls:
        yield f"tool: {name}({json.dumps(arguments, ensure_ascii=False)})"
    for agent in heard.handoffs:
        yield f"handoff: {agent}"
    if heard.text:
        yield f"agent: {heard.text}{' (interrupted)' if heard.interrupted else ''}"


def _clean(text: str) -> str:
    """Return the text without the characters that XML does not allow."""
    return "".join(character for character in text if character in "\t\n" or character >= " ")
