"""The driver of scripts/gpu.py: processes one after the other, each with so many seconds, and what they found in one folder."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmark.cases import COLLECT, DAG_CASES, DENSITY_CASES, GOALS, MEASUREMENTS, MOLECULE_CASES, Job, UsageError, parse_cases
from benchmark.machine import lacks_memory
from benchmark.report import figure_lines, graph_line, result_lines, summarized
from benchmark.runner import CLONE, OURS, SCRIPTS

FIGURE = CLONE / "configs" / "experiment" / "hypergrid_objectives.yaml"
# Cases that come last, where time may be over.
SLOW = re.compile("transformer|mpnn|" + "|".join(MEASUREMENTS))
ALL = [*GOALS, *DAG_CASES, *DENSITY_CASES, *MOLECULE_CASES, *(name for name in MEASUREMENTS if name != COLLECT)]
CASES = sorted(ALL, key=lambda name: bool(SLOW.search(name)))
# At most so many seconds for the settings of Fig. 1 one by one and the graphs, all settings at once, the tests, and a case.
CHECKS_SECONDS, TOGETHER_SECONDS, TESTS_SECONDS, CASE_SECONDS = 120.0, 75.0, 120.0, 40.0
ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b.*")
# Key -> (default, meaning); numbers are whole.
KEYS = {
    "device": ("cuda", "cuda or cuda:N; cpu tries the script itself, and says nothing of a GPU"),
    "case": (",".join(CASES), "cases of scripts/benchmark.py with commas between; default: all but collect, slow ones last"),
    "replicas": ("1,8,64,256", "seeds trained in one process, rising"),
    "updates": ("10", "updates that are timed"),
    "warmup": ("5", "updates before that"),
    "side": ("128", "side of the grid of Fig. 1"),
    "settings": ("12", "how many settings of Fig. 1 are tried"),
    "window": ("10", "seconds in which all settings train at once"),
    "seconds": ("480", "everything ends by then; what is left is skipped and named"),
}


class Findings:
    """What was found so far, kept in a folder as it comes: summary.txt for readers, results.json with all numbers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.found = folder, dict[str, list[Any]]()
        for name in ("summary.txt", "errors.txt"):
            (folder / name).write_text("", encoding="utf-8")

    def say(self, *lines: str) -> None:
        """Print lines and add them to the summary."""
        for line in lines:
            print(line, flush=True)
        with (self.folder / "summary.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def keep(self, kind: str, finding: object) -> None:
        """Add a finding to those of its kind."""
        self.found.setdefault(kind, []).append(finding)
        (self.folder / "results.json").write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")

    def failed(self, words: str) -> str:
        """Keep what a process that failed has said, and return its last error in one line, "" where it said nothing."""
        with (self.folder / "errors.txt").open("a", encoding="utf-8") as file:
            file.write(words)
        lines = words.splitlines() or [""]
        return next((line for line in reversed(lines) if ERROR.match(line)), lines[-1])


class Deadline:
    """The time by which everything ends."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float) -> float:
        """Return how many of at most so many seconds there are."""
        return min(most, self._end - time.monotonic())


def follow(command: list[str], seconds: float, take: Callable[[str], None], findings: Findings) -> str:
    """Run a command in the clone and hand over each line that it prints; return "" or why it did not come to its end.

    It is killed after so many seconds.
    """
    if seconds <= 0:
        return "no time is left"
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, cwd=CLONE, env=_environment(), stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace"
        )
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                take(line.rstrip("\n"))
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        errors.seek(0)
        words = errors.read()
    if status == 0:
        return ""
    if is_late.is_set():
        return f"stopped after {seconds:.0f} s"
    why = findings.failed(words) or f"ended with status {status}"
    return "needs more memory than there is" if lacks_memory(words) else why


def of_json(take: Callable[[dict[str, Any]], None]) -> Callable[[str], None]:
    """Return what hands over the lines that are objects of JSON, and passes over what a library prints."""
    return lambda line: take(json.loads(line)) if line.startswith("{") else None


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")])}


def check_figure(options: dict[str, Any], settings: list[str], deadline: Deadline, findings: Findings) -> None:
    """Time an update of each setting of Fig. 1 alone, CUDA graphs of the first one, then all settings at once."""

    def take(finding: dict[str, Any]) -> None:
        findings.keep("graphs" if "graph" in finding else "settings", finding)

    command = [sys.executable, "-m", "benchmark.gpu_checks", "one-by-one", json.dumps(options), *settings]
    stopped = [follow(command, deadline.left(CHECKS_SECONDS), of_json(take), findings)]
    alone, together = findings.found.get("settings", []), list[dict[str, Any]]()
    if len(alone) == len(settings):
        together, why = train_at_once(options, settings, deadline.left(TOGETHER_SECONDS), findings)
        stopped.append(why)
    findings.say(*figure_lines(alone, together), *map(graph_line, findings.found.get("graphs", [])))
    findings.say(*(f"Fig. 1 and CUDA graphs: {why}" for why in stopped if why))


def train_at_once(
    options: dict[str, Any], settings: list[str], seconds: float, findings: Findings
) -> tuple[list[dict[str, Any]], str]:
    """Train all settings on the device at the same time, each in a process of its own.

    Return what each found, and "" or why that did not work.
    """
    if seconds <= 0:
        return [], "no time is left for all settings at once"
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "encoding": "utf-8"}
        command = [sys.executable, "-m", "benchmark.gpu_checks", "at-once", json.dumps(options)]
        processes: list[Any] = [
            subprocess.Popen([*command, setting], cwd=CLONE, env=_environment(), **pipes) for setting in settings
        ]

        def stop() -> None:
            for process in processes:
                process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            if all(process.stdout.readline() == "ready\n" for process in processes):
                for process in processes:
                    with contextlib.suppress(BrokenPipeError):  # it has just ended, and has no line below
                        process.stdin.write("\n")
                        process.stdin.flush()
                found += [json.loads(line) for line in (process.stdout.readline() for process in processes) if line]
        finally:
            timer.cancel()
            stop()
            for process in processes:
                process.communicate()
        errors.seek(0)
        words = errors.read()
    for finding in found:
        findings.keep("together", finding)
    if len(found) == len(settings):
        return found, ""
    return found, f"all settings at once: {findings.failed(words) or f'stopped after {seconds:.0f} s'}"


def run_tests(deadline: Deadline, findings: Findings) -> None:
    """Run the tests of training on CUDA; what they print is tests.txt."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(dir=findings.folder) as files:
        options = ["-q", "-rs", "-p", "no:cacheprovider", f"--basetemp={Path(files).resolve() / 'pytest'}"]
        command = [sys.executable, "-m", "pytest", "tests/system/test_cuda.py", *options]
        why = follow(command, deadline.left(TESTS_SECONDS), said.append, findings)
    (findings.folder / "tests.txt").write_text("".join(f"{line}\n" for line in said), encoding="utf-8")
    findings.keep("tests", {"last_line": said[-1] if said else "", "problem": why})
    findings.say(*(line for line in said if line.startswith(("FAILED", "ERROR"))))
    findings.say(f"tests/system/test_cuda.py: {'; '.join([*said[-1:], *([why] if why else [])])}")


def run_case(jobs: list[Job], deadline: Deadline, findings: Findings) -> None:
    """Measure a case with each number of replicas, the fewest first; where one is too many or too slow, so are those after it."""
    waiting = list(jobs)

    def take(found: dict[str, Any]) -> None:
        job = waiting.pop(0)
        head = {"implementation": OURS, "case": job.name, "replicas": job.replicas, "batch": job.case.batch}
        result = summarized([head | {"updates": job.updates, "warmup": job.warmup} | found])
        findings.keep("cases", result)
        findings.say(*result_lines(result))

    command = [sys.executable, "-m", "benchmark.measure", *(json.dumps(asdict(job)) for job in jobs)]
    why = follow(command, deadline.left(CASE_SECONDS), of_json(take), findings)
    for job in waiting:
        findings.keep("skipped", {"case": job.name, "replicas": job.replicas, "why": why})
        findings.say(f"skipped: {job.name}, {job.replicas} replica{'s' * (job.replicas > 1)}: {why}")


def main(arguments: Sequence[str] | None = None, description: str | None = None) -> None:
    """Entry point. Exits with status 1 where a test fails, with 2 and one line on stderr where the command line cannot work."""
    shown = {key: "all" if key == "case" else default for key, (default, _) in KEYS.items()}
    keys = "\n".join(f"  {key + '=' + shown[key]:<20} {meaning}" for key, (_, meaning) in KEYS.items())
    parser = argparse.ArgumentParser(
        description=f"{description}\nkeys:\n{keys}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where everything is written: summary.txt, results.json, tests.txt, errors.txt")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="see above")
    given = parser.parse_intermixed_args(arguments)
    try:
        if not run_all(given.folder, read_keys(given.keys)):
            parser.exit(1)
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:
        parser.exit(2, f"error: cannot write {error.filename or given.folder}: {error.strerror or error}\n")
    except KeyboardInterrupt:
        parser.exit(130)


def read_keys(words: Sequence[str]) -> dict[str, Any]:
    """Return the value of every key, numbers as such; raises UsageError for words that cannot work."""
    options: dict[str, Any] = {key: default for key, (default, _) in KEYS.items()}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS or not value:
            raise UsageError(f"{word}: expected key=value with a key of {', '.join(KEYS)}")
        options[key] = value
    for key, (default, _) in KEYS.items():
        if default.isdecimal() or key == "replicas":
            numbers = options[key].split(",") if key == "replicas" else [options[key]]
            least = {"warmup": 0, "side": 2}.get(key, 1)
            if not all(number.isdecimal() and int(number) >= least for number in numbers):
                raise UsageError(f"{key}={options[key]}: expected a whole number >= {least}")
            options[key] = [int(number) for number in numbers] if key == "replicas" else int(options[key])
    return options


def run_all(folder: Path, options: dict[str, Any]) -> bool:
    """Run everything in the order of what is most wanted; return whether the tests passed, or had nothing to test."""
    from gfn_vi.build import resolve_device
    from gfn_vi.core.errors import ConfigError

    cases = parse_cases(options["case"])
    try:
        device = resolve_device(options["device"])
    except ConfigError as error:
        raise UsageError(error) from error
    findings, deadline = Findings(folder), Deadline(options["seconds"])
    if device.type == "cpu":
        findings.say("device=cpu: this tries the script itself; no number below says anything of a GPU")
    settings = OmegaConf.load(FIGURE).hydra.sweeper.params.arm.replace(" ", "").split(",")[: options["settings"]]
    of_checks = {key: options[key] for key in ("device", "side", "updates", "warmup", "window")}
    check_figure(of_checks, settings, deadline, findings)
    run_tests(deadline, findings)
    for case in cases:
        sizes = (options["updates"], options["warmup"], 1, options["device"])
        run_case([Job(case.name, n, *sizes) for n in sorted(set(options["replicas"]))], deadline, findings)
    findings.say(f"everything is in {folder}")
    return findings.found["tests"][0]["problem"] == ""
