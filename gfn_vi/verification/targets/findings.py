"""What the checks of a target find: a verdict for each, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["ok", "fault", "not applicable"]


class Fault(Exception):  # noqa: N818 - a fault of the target, and of nobody's program
    """A fault of a target, in one line that names a state and what to change.

    harmless: no number is wrong because of it, so that a run may go on.
    """

    def __init__(self, line: str, harmless: bool = False) -> None:
        super().__init__(line)
        self.line, self.harmless = line, harmless


class NotApplicable(Exception):  # noqa: N818 - it ends a check that has nothing to look at
    """Why a check has nothing to look at here."""


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was looked at where it is ok, one fault, or why it does not apply."""

    check: str
    verdict: Verdict
    told: str
    harmless: bool = False


@dataclass(frozen=True)
class Check:
    """One check by its name. asks: yields the faults that it finds and returns what it has looked at, in words."""

    name: str
    asks: Callable[[Any], Iterator[Fault]]
    looked_at: str


@dataclass(frozen=True)
class Report:
    """Everything that was found of a target. target: its class; scope: which states or points were looked at, in words."""

    target: str
    scope: str
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Return the findings that are faults; none of a target that keeps what it owes."""
        return tuple(finding for finding in self.findings if finding.verdict == "fault")

    def __str__(self) -> str:
        width = max(len(finding.check) for finding in self.findings)
        lines = [f"{finding.check:<{width}}  {finding.verdict:<14}  {finding.told}" for finding in self.findings]
        return "\n".join([f"{self.target}: {self.scope}", *lines])


def found_by(check: Check, subject: Any, told: set[str]) -> Iterator[Finding]:
    """Yield what a check finds on its subject: each fault, or that it is ok, or why it does not apply.

    told: the faults that other checks have named, to which new ones are added; a check that only meets one of them is not ok,
    and says so without naming it again.
    """
    n_faults = 0
    try:
        for fault in check.asks(subject):
            n_faults += 1
            if fault.line not in told:
                told.add(fault.line)
                yield Finding(check.name, "fault", fault.line, fault.harmless)
    except NotApplicable as reason:
        if n_faults == 0:
            yield Finding(check.name, "not applicable", str(reason))
        return
    except Fault as fault:
        if fault.line not in told:
            told.add(fault.line)
            yield Finding(check.name, "fault", fault.line, fault.harmless)
        else:
            yield Finding(check.name, "not applicable", "a fault above leaves nothing to look at")
        return
    if n_faults == 0:
        yield Finding(check.name, "ok", check.looked_at + getattr(subject, "as_far", ""))
