"""The results as text."""

from __future__ import annotations

from typing import Any

from benchmark.cases import (
    COLLECT,
    COLLECT_GOAL_RUNS,
    COLLECT_GOAL_SECONDS,
    EXACT_GOAL_MS,
    GOALS,
    LAST_CASE_GOAL_MB,
    MEASUREMENTS,
)
from benchmark.dags import DAG_GOALS, parse_dag_case
from benchmark.machine import DISTURBING_CORES
from benchmark.runner import OURS

Result = dict[str, Any]
LAST_CASE = list(GOALS)[-1]


def result_lines(r: Result) -> list[str]:
    """One measurement."""
    who = f"{r['implementation']:<9}{r['case']:<9} {r['replicas']} replica{'s' if r['replicas'] > 1 else ' '}"
    if "not_measured" in r:
        return [f"{who}  not measured: {r['not_measured']}"]
    low, high = r["ms_range"]
    what = "measurement" if r["case"] in MEASUREMENTS else "update"
    lines = [f"{who}  {r['ms']:8.2f} ms/{what} ({low:.2f} to {high:.2f}), per replica {r['ms_per_replica']:.2f} ms"]
    if r["case"] == "exact":
        goal = f"goal {EXACT_GOAL_MS:.0f} ms per replica: {verdict(r['ms_per_replica'] <= EXACT_GOAL_MS)}"
        lines.append(f"the first {r['first_ms']:.0f} ms (builds the state graph), {goal}, {memory(r)}")
    elif r["case"] == COLLECT:
        reached = verdict(r["ms"] < COLLECT_GOAL_SECONDS * 1e3)
        goal = f", goal {COLLECT_GOAL_SECONDS:.0f} s: {reached}" if r["runs"] == COLLECT_GOAL_RUNS else ""
        lines.append(f"{r['what']}{goal}, {memory(r)}")
    elif r["case"] in MEASUREMENTS:
        lines.append(f"{r['what']}; the first {r['first_ms']:.0f} ms, {memory(r)}")
    else:
        rates = f"{r['trajectories_per_second']:,.0f} trajectories/s, {r['states_per_second']:,.0f} states/s"
        if "rewards_per_second" in r:
            rates += f", {r['rewards_per_second']:,.0f} rewards/s"
        lines.append(f"{rates}, mean length {r['mean_length']:.1f}, {memory(r)}")
    if "phases_ms" in r:
        phases = ", ".join(f"{name} {ms:.2f}" for name, ms in r["phases_ms"].items())
        lines.append(f"phases (ms): {phases}; distinct {r['distinct_share']:.0%} of visited states")
    if "by_step_ms" in r:
        lines.append(f"{r['by_step_ms']:.2f} ms/update where rewards are computed as its own step does, and not once at the end")
    if "compile_seconds" in r:
        lines.append(f"compiling took {r['compile_seconds']:.1f} s, not counted above")
    others = max(r.get("busy_cores_before") or 0.0, r.get("busy_cores_during") or 0.0)
    if others > DISTURBING_CORES:
        lines.append(f"DISTURBED: others used up to {others:.1f} cores, do not trust the times")
    return [lines[0], *(f"    {line}" for line in lines[1:])]


def memory(r: Result) -> str:
    """Peak memory, with its goal where there is one."""
    text = f"peak memory {r['peak_memory_mb']:.0f} MB"
    if "peak_device_memory_mb" in r:
        text += f", on the device {r['peak_device_memory_mb']:.0f} MB"
    if r["case"] == LAST_CASE and r["implementation"] == OURS:
        text += f" (goal {LAST_CASE_GOAL_MB:.0f}: {verdict(r['peak_memory_mb'] < LAST_CASE_GOAL_MB)})"
    return text


def verdict(reached: bool) -> str:
    """In a word."""
    return "reached" if reached else "missed"


def comparison_lines(rows: list[Result]) -> list[str]:
    """Ratios to the peers: milliseconds per update, and per visited state; against the faster peer the goal."""
    if not rows:
        return []
    width = max(9, *(len(row["case"]) for row in rows))
    lines = [
        "times as fast as the peers, per replica: by ms per update | by ms per visited state (matched lengths)",
        *(
            f"    {row['case']:<{width}} {row['replicas']} replica{'s' if row['replicas'] > 1 else ' '}  {row['peer']:<9}"
            f"{row['ratio']:7.2f} x |{row['ratio_matched']:7.2f} x"
            for row in rows
        ),
        "against the faster peer at matched lengths:",
    ]
    for case, replicas in dict.fromkeys((row["case"], row["replicas"]) for row in rows):
        ratios = [row["ratio_matched"] for row in rows if (row["case"], row["replicas"]) == (case, replicas)]
        goal = dict(zip((1, 8), goals(case), strict=False)).get(replicas)
        judged = "" if goal is None else f" (goal {goal:g} x: {verdict(min(ratios) >= goal)})"
        lines.append(f"    {case:<{width}} {replicas} replica{'s' if replicas > 1 else ' '}  {min(ratios):5.2f} x{judged}")
    return lines


def goals(case: str) -> tuple[float, ...]:
    """With 1 replica and with 8, of cases that have them."""
    return DAG_GOALS if parse_dag_case(case) else GOALS.get(case, ())
