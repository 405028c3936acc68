"""Names of choices: columns of the table, labels of groups, and no part of what a run is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from gfn_vi.experiments.measures import JSD

from gfn_vi.analysis.reading.groups import NOT_SET, differences
from gfn_vi.analysis.reading.table import collect
from gfn_vi.analysis.statistics.summary import final_values, grouped_curves

MakeRun = Callable[..., Path]
VARIATIONAL = "gfn_vi.objectives.variational.Variational"
ARM = "reverse_kl"  # of which the numbers are; the runs have no arm


def variational(name: str, penalty: str = "none", **more: object) -> dict[str, object]:
    """The configuration of a variational objective: a list of terms, one of which may hold a penalty."""
    term = {"_target_": f"gfn_vi.{name}"} | ({"penalty": {"_target_": f"gfn_vi.{penalty}"}} if penalty != "none" else {})
    objective = {"_target_": VARIATIONAL, "forward": [term]} | more
    return {"arm_name": None, "objective": objective, "choices": {"objective": name, "penalty": penalty, "target": "hypergrid"}}


def table_of(folder: Path, **more: object) -> pd.DataFrame:
    """The table of the runs of a folder."""
    return collect(folder, say=lambda _: None, **more)


def keys(table: pd.DataFrame) -> set[str]:
    """The columns of keys of the configuration."""
    return {name for name in table.columns if name.startswith("config.")}


def test_a_sweep_over_objectives_and_penalties_has_readable_columns(make_run: MakeRun) -> None:
    """The list of terms, which holds both choices, is told by them; choices that are the same everywhere are there too."""
    for name in ("reverse_kl", "forward_kl"):
        for penalty in ("none", "square"):
            folder = make_run(ARM, n_points=2, replicas=2, **variational(name, penalty)).parent
    table = table_of(folder)
    assert keys(table) == set()
    found = table[["objective", "penalty", "target"]].drop_duplicates().astype(str)
    assert set(found.itertuples(index=False, name=None)) == {
        (name, penalty, "hypergrid") for name in ("reverse_kl", "forward_kl") for penalty in ("none", "square")
    }
    labels = {f"objective={name} penalty={penalty}" for name in ("reverse_kl", "forward_kl") for penalty in ("none", "square")}
    assert set(final_values(table, "jsd", 1.0)) == labels
    assert set(grouped_curves(table, JSD)) == labels
    assert list(differences(table).index) == ["objective", "penalty"]
    assert "config.objective.forward" in table_of(folder, keys=["objective.forward"])


def test_what_differs_among_runs_of_one_choice_stays(make_run: MakeRun) -> None:
    """An override inside the objective of one choice, and a list that two runs of one choice do not share."""
    make_run(ARM, n_points=2, **variational("reverse_kl", scale=1.0))
    make_run(ARM, n_points=2, **variational("reverse_kl", scale=2.0))
    folder = make_run(ARM, n_points=2, **variational("forward_kl", scale=3.0)).parent
    assert keys(table_of(folder)) == {"config.objective.scale"}
    other = variational("forward_kl", scale=3.0, weights=[1, 2])
    other["objective"] = dict(other["objective"], forward=[{"_target_": "gfn_vi.mine"}])  # type: ignore[call-overload]
    make_run(ARM, n_points=2, **other)
    assert keys(table_of(folder)) == {"config.objective.scale", "config.objective.forward", "config.objective.weights"}


def test_another_room_tells_nothing(make_run: MakeRun) -> None:
    """The side of the grid is no matter of the objective, also where each objective has a side of its own."""
    for name, side in (("reverse_kl", 8), ("forward_kl", 16)):
        target = {"_target_": "gfn_vi.targets.grids.hypergrid.Hypergrid", "side": side, "weights": [side]}
        folder = make_run(ARM, n_points=2, **variational(name), target=target).parent
    table = table_of(folder)
    assert {"config.target.side", "config.target.weights"} <= keys(table)
    assert not {name for name in keys(table) if name.startswith("config.objective")}


@pytest.mark.parametrize(
    ("choices", "left"),
    [
        (({"kind": "a"}, {"kind": "b"}), set()),  # nobody sees where it is: it may be in any list and be any class
        (({"inner": "a"}, {"inner": "b"}), set()),  # the node `inner` of the objective, and what is in lists beside it
        (({"reward": "a"}, {"reward": "b"}), {"config.objective.forward", "config.objective.inner._target_"}),  # of the target
    ],
)
def test_where_a_choice_is(make_run: MakeRun, choices: tuple[dict[str, str], ...], left: set[str]) -> None:
    """Lists and classes of a node are told by choices below that node, and by those whose place is not known."""
    for own, name in zip(choices, "ab", strict=True):
        config = variational(name, inner={"_target_": f"gfn_vi.{name}"})
        folder = make_run(ARM, n_points=2, **config | {"choices": {"objective": "mine"} | own}).parent
    assert keys(table_of(folder)) == left


def test_choices_name_groups_before_keys_do(make_run: MakeRun) -> None:
    """One choice if it is enough, or all of them, even where a key would be."""
    for number, (name, penalty) in enumerate((("a", "x"), ("a", "y"), ("b", "x"))):
        folder = make_run(ARM, n_points=2, **variational(name, penalty), budget_name=number).parent
    assert set(final_values(table_of(folder), "jsd", 1.0)) == {
        *("objective=a penalty=x", "objective=a penalty=y", "objective=b penalty=x"),
    }


def test_labels_hold_no_choice_that_others_tell(make_run: MakeRun) -> None:
    """Each target has a reward of its own: the target's name is enough, and goes first, also in the differences."""
    for target, reward in (("hypergrid", "corners"), ("tiny_dag", None)):
        for sampler in ("mlp", "tabular"):
            for seed in (0, 5):
                choices = {"reward": reward, "sampler": sampler, "target": target}
                config = {"arm_name": None, "sampler": sampler, "target": {"name": target}, "choices": choices}
                folder = make_run(ARM, n_points=2, seed=seed, **config).parent
    labels = {f"target={target} sampler={sampler}" for target in ("hypergrid", "tiny_dag") for sampler in ("mlp", "tabular")}
    assert set(final_values(table_of(folder), "jsd", 1.0)) == labels
    found = differences(table_of(folder))
    assert set(found.columns) == labels
    assert found.loc["reward", "target=tiny_dag sampler=mlp"] == NOT_SET
    assert found.loc["seed", "target=tiny_dag sampler=mlp"] == "0, 5"


def test_runs_that_differ_in_seeds_only_are_all_runs(make_run: MakeRun) -> None:
    for seed in (0, 5):
        folder = make_run(ARM, n_points=2, seed=seed, arm_name=None).parent
    table = table_of(folder)
    assert differences(table).to_dict() == {"all runs": {"seed": "0, 5"}}
    assert set(final_values(table, "jsd", 1.0)) == set(grouped_curves(table, JSD)) == {"all runs"}


def test_a_setting_keeps_its_name_where_others_have_recorded_something_else(make_run: MakeRun) -> None:
    """One that is not finished counts as another, too."""
    for name, state in (("reverse_kl", "done"), ("forward_kl", "done"), ("wake_sleep", "interrupted")):
        folder = make_run(ARM, state, n_points=2, **variational(name)).parent
    table = table_of(folder)
    table = table[(table["metric"] != "jsd") | (table["objective"] == "reverse_kl")]
    assert set(final_values(table, "jsd", 1.0)) == set(grouped_curves(table, JSD)) == {"objective=reverse_kl"}


def test_two_names_of_one_configuration_are_one_run(make_run: MakeRun, tmp_path: Path) -> None:
    """The finished one counts; of several seeds under two names the group is one."""
    named = variational("reverse_kl")
    other = named | {"choices": {"objective": "reverse_kl", "penalty": "none", "target": "hypergrid_16x16"}}
    make_run(ARM, n_points=2, replicas=2, state="interrupted", **named)
    folder = make_run(ARM, n_points=2, replicas=2, **other).parent
    table = table_of(folder)
    assert set(table["state"]) == {"done"}
    assert table.groupby("metric", observed=True).size().tolist() == [6, 6, 6]
    make_run(ARM, n_points=2, replicas=2, seed=2, **named)
    table = table_of(folder)
    assert table["target"].nunique() == 1
    (values,) = final_values(table, "jsd", 1.0).values()
    assert len(values) == 4
    assert len(grouped_curves(table, JSD)) == 1


def test_older_runs_have_no_choices(make_run: MakeRun) -> None:
    """Beside newer ones their cells are empty; alone there are no columns."""
    make_run("forward_kl", n_points=2, arm_name=None)
    folder = make_run(ARM, n_points=2, **variational("reverse_kl")).parent
    table = table_of(folder)
    assert set(table["objective"].astype(object).fillna("missing")) == {"missing", "reverse_kl"}
    assert len(final_values(table, "jsd", 1.0)) == 2


def test_a_choice_never_hides_a_column(make_run: MakeRun) -> None:
    """A group that is called as a recorded column has another name."""
    config = variational("reverse_kl") | {"choices": {"metric": "exact", "objective": "reverse_kl"}}
    table = table_of(make_run(ARM, n_points=2, **config).parent)
    assert set(table["metric_choice"]) == {"exact"}
    assert set(table["metric"]) == {"jsd", "modes_covered", "log_Z"}
