"""Rounds to results, results to comparisons, and both to text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from statistics import mean, median

from benchmark.cases import BOUND_GOALS, COLLECT, COLLECTED_RUNS, EXACT, GOALS, MEASUREMENTS, UsageError, case_of
from benchmark.machine import DISTURBING_CORES
from benchmark.runner import OURS, Result

EXACT_GOAL_MS, COLLECT_GOAL_SECONDS, FIGURE_GOAL_MINUTES = 50.0, 60.0, 30.0
LAST_CASE, LAST_CASE_GOAL_MB = list(GOALS)[-1], 1000.0
# Relative tolerance of log-rewards: a peer computes them in float32.
AGREEMENT = 1e-2
# What becomes of a number of several rounds.
OVER_ROUNDS: Mapping[str, Callable[[Iterable[float]], float]] = {
    **dict.fromkeys(("peak_memory_mb", "peak_device_memory_mb", "busy_cores_before", "busy_cores_during"), max),
    **dict.fromkeys(("by_step_ms", "distinct_share", "distinct_states", "networks_ms"), median),
    **dict.fromkeys(("sampled_states", "sampled_batches"), median),
    **dict.fromkeys(("mean_length", "gflop_per_update"), mean),
    "gflop_per_second": max,  # of the machine, at its best
}
# Numbers of a result in words: those that share a line, then those with a line each.
FACTS = {f"{unit}_per_second": f"{{:,.0f}} {unit}/s" for unit in ("trajectories", "states", "rewards")}
FACTS |= {"mean_length": "mean length {:.1f}", "what": "{}", "first_ms": "the first {:.0f} ms"}
FACTS |= {"peak_memory_mb": "peak memory {:.0f} MB", "peak_device_memory_mb": "on the device {:.0f} MB"}
REMARKS = {
    "by_step_ms": "{:.2f} ms/update where rewards are computed as its own step does, and not once at the end",
    "networks_ms": "networks on the distinct visited states alone, in one batch with and one without gradient: {:.2f} ms",
    "compile_seconds": "compiling took {:.1f} s, not counted above",
}


def summarized(rounds: list[Result]) -> Result:
    """Several rounds of the same measurement as one: blocks of all of them, median and range; rates follow from the median."""
    merged = dict(rounds[-1])
    if "not_measured" in merged:
        return merged
    merged |= {key: over(one[key] for one in rounds) for key, over in OVER_ROUNDS.items() if merged.get(key) is not None}
    blocks = merged["block_ms"] = [ms for one in rounds for ms in one["block_ms"]]
    ms = merged["ms"] = median(blocks)
    merged |= {"rounds": len(rounds), "ms_range": [min(blocks), max(blocks)], "ms_per_replica": ms / merged["replicas"]}
    if "mean_length" in merged:
        per_second = merged["trajectories_per_second"] = 1e3 / ms * merged["replicas"] * merged["batch"]
        merged["states_per_second"] = per_second * merged["mean_length"]
    if "rewards_per_update" in merged:
        merged["rewards_per_second"] = merged["rewards_per_update"] * 1e3 / ms
    if "gflop_per_update" in merged:
        merged["bound_ms"] = merged["gflop_per_update"] / merged["gflop_per_second"] * 1e3
        merged["times_bound"] = ms / merged["bound_ms"]
    if "phases_ms" in merged:
        merged["phases_ms"] = {name: median(one["phases_ms"][name] for one in rounds) for name in merged["phases_ms"]}
    return merged


def compared(results: list[Result]) -> list[Result]:
    """Ours beside the peers: one row per case, number of replicas and peer.

    ratio: their milliseconds per update over ours per replica; ratio_matched: the same per visited state, so that it does
    not matter that policies trained from other seeds make shorter or longer trajectories.
    Raises UsageError where log-rewards of the same graphs are other than ours: that peer samples from something else.
    """
    trained = [r for r in results if "mean_length" in r]
    peers = [r for r in trained if r["implementation"] != OURS]
    rows = []
    for ours, theirs in itertools.product((r for r in trained if r["implementation"] == OURS), peers):
        if ours["case"] != theirs["case"]:
            continue
        wanted, found, peer = ours.get("log_rewards", []), theirs.get("log_rewards", []), theirs["implementation"]
        if not all(math.isclose(a, b, rel_tol=AGREEMENT, abs_tol=1) for a, b in zip(wanted, found, strict=True)):
            raise UsageError(f"{peer} {theirs['case']}: log-rewards {found} of two graphs, ours are {wanted}")
        ratio = theirs["ms"] / ours["ms_per_replica"]
        matched = ratio * ours["mean_length"] / theirs["mean_length"]
        row = {"case": ours["case"], "replicas": ours["replicas"], "peer": peer}
        rows.append(row | {"ratio": ratio, "ratio_matched": matched})
    return rows


def result_lines(r: Result) -> list[str]:
    """One measurement in words."""
    case, who = r["case"], f"{r['implementation']:<14}{r['case']:<9} {_replicas(r)}"
    if "not_measured" in r:
        return [f"{who}  not measured: {r['not_measured']}"]
    low, high = r["ms_range"]
    what = "measurement" if case in MEASUREMENTS else "update"
    facts = [form.format(r[key]) for key, form in FACTS.items() if key in r]
    if case == EXACT:
        facts.append(_goal(f"{EXACT_GOAL_MS:.0f} ms per replica", r["ms_per_replica"] <= EXACT_GOAL_MS))
    if case == COLLECT and r["runs"] == COLLECTED_RUNS:
        facts.append(_goal(f"{COLLECT_GOAL_SECONDS:.0f} s", r["ms"] < COLLECT_GOAL_SECONDS * 1e3))
    if case == LAST_CASE and r["implementation"] == OURS:
        facts.append(_goal(f"{LAST_CASE_GOAL_MB:.0f} MB", r["peak_memory_mb"] < LAST_CASE_GOAL_MB))
    more = [form.format(r[key]) for key, form in REMARKS.items() if key in r]
    if "phases_ms" in r:
        phases = ", ".join(f"{name} {ms:.2f}" for name, ms in r["phases_ms"].items())
        sampled = (
            "; sampled by P_F at {sampled_states:,.0f} states in {sampled_batches:.1f} batches" if "sampled_states" in r else ""
        )
        of = f"distinct {r['distinct_share']:.0%} of visited states, {r['distinct_states']:,.0f}"
        more.insert(0, f"phases (ms): {phases}; {of}{sampled.format(**r)}")
    if "bound_ms" in r:
        more.append(_bound(r))
    if "host_waits" in r:
        more.append(waits(r))
    others = max(r.get("busy_cores_before") or 0.0, r.get("busy_cores_during") or 0.0)
    if others > DISTURBING_CORES:
        more.append(f"DISTURBED: others used up to {others:.1f} cores, do not trust the times")
    first = f"{who}  {r['ms']:8.2f} ms/{what} ({low:.2f} to {high:.2f}), per replica {r['ms_per_replica']:.2f} ms"
    return [first, *(f"    {line}" for line in [", ".join(facts), *more])]


def _bound(r: Result) -> str:
    """Rate, bound, and what was measured over the bound, beside the goal where there is one."""
    arithmetic = f"{r['gflop_per_update']:.3g} GFLOP of the networks on {r['distinct_states']:,.0f} distinct states"
    rate = f"{r['gflop_per_second']:,.0f} GFLOP/s (products of {r['product']})"
    per_replica = r["bound_ms"] / r["replicas"]
    goal = None if "device_name" in r else BOUND_GOALS.get(r["case"], {}).get(r["replicas"])  # of a CPU
    reached = "" if goal is None else f" ({_goal(f'{goal:.3g}', r['times_bound'] <= goal)})"
    bound = f"bound {r['bound_ms']:.2f} ms/update, per replica {per_replica:.2f} ms: {arithmetic} at {rate}"
    return f"{bound}; measured / bound {r['times_bound']:.1f}{reached}"


def waits(r: Result) -> str:
    """Say which operation makes the host wait for the device in an update."""
    return (
        f"the host waits for the device at {r['host_waits']}" if r["host_waits"] else "nothing in an update waits for the device"
    )


def comparison_lines(rows: list[Result]) -> list[str]:
    """Ratios to the peers: milliseconds per update, and per visited state; against the faster peer the goal."""
    if not rows:
        return []
    width = max(9, *(len(row["case"]) for row in rows))
    lines = ["times as fast as the peers, per replica: by ms per update | by ms per visited state (matched lengths)"]
    faster: dict[str, Result] = {}
    for row in rows:
        who = f"    {row['case']:<{width}} {_replicas(row)}  "
        lines.append(f"{who}{row['peer']:<14}{row['ratio']:7.2f} x |{row['ratio_matched']:7.2f} x")
        faster[who] = min(faster.get(who, row), row, key=lambda row: row["ratio_matched"])
    lines.append("against the faster peer at matched lengths:")
    for who, row in faster.items():
        ratio, goal = row["ratio_matched"], case_of(row["case"]).goals.get(row["replicas"])
        lines.append(f"{who}{ratio:5.2f} x" + ("" if goal is None else f" ({_goal(f'{goal:.3g} x', ratio >= goal)})"))
    return lines


def minutes(setting: Result) -> float:
    """Return how long a run of a setting of Fig. 1 takes, its measurements included."""
    return float(setting["updates"] * setting["ms"] + setting["measurements"] * setting["measure_ms"]) / 60e3


def figure_lines(alone: list[Result], together: list[Result]) -> list[str]:
    """One line per setting of Fig. 1, then how long all take one after the other, and at once as far as that was measured.

    At once, measurements are taken to be made one after the other.
    """
    lines = []
    for s in alone:
        at_once = "".join(f", {other['ms']:.1f} beside all others" for other in together if other["setting"] == s["setting"])
        times = f"{s['ms']:.1f} ms/update{at_once}, {s['measure_ms']:.0f} ms/measurement, {minutes(s):.1f} minutes"
        lines.append(
            "; ".join([f"{s['setting']}, {s['replicas']} replicas: {times}", *([waits(s)] if "host_waits" in s else [])])
        )
    if alone:
        size = f"Fig. 1, {len(alone)} settings x {alone[0]['replicas']} seeds x {alone[0]['updates']:,} updates"
        total = sum(map(minutes, alone))
        lines.append(f"{size}: {total:.1f} minutes, one setting after the other (aim: {FIGURE_GOAL_MINUTES:.0f} for 12 settings)")
    if alone and len(together) == len(alone):
        updates = max(s["updates"] * other["ms"] for s, other in zip(alone, together, strict=True)) / 60e3
        measuring = sum(s["measurements"] * s["measure_ms"] for s in alone) / 60e3
        lines.append(f"{size}: {updates + measuring:.1f} minutes, all settings at once")
    return lines


def graph_line(found: Result) -> str:
    """One call as it is and replayed from a CUDA graph, or why it cannot be."""
    who = f"CUDA graph of one {found['graph']}, {found['setting']}: {found['ms']:.2f} ms as it is"
    if "problem" in found:
        return f"{who}; not captured: {found['problem']}"
    same = {True: ", the same draws", False: ", OTHER DRAWS", None: ""}[found.get("same_draws")]
    return f"{who}, {found['replayed_ms']:.2f} ms replayed{same}"


def _replicas(r: Result) -> str:
    return f"{r['replicas']} replica{'s' if r['replicas'] > 1 else ' '}"


def _goal(text: str, reached: bool) -> str:
    return f"goal {text}: {'reached' if reached else 'missed'}"
