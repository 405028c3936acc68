"""Every YAML: its keys are the constructor's arguments, each is explained, and every choice composes and trains."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from building import CONFIGS, composed, density_targets, make_trainer, samplers, small_target
from molecule_weights import weights_file
from omegaconf import OmegaConf

from gfn_vi.evaluation.base import recorded_names
from gfn_vi.mirrors import build_sinks, loggers

BATCHES = ("trainer.batch_size=8", "trainer.n_trajectories=16")
# Arms that are composed of three choices.
BENCHMARK = ("arm/diffusion_benchmark", *(f"arm/diffusion_benchmark/{part}" for part in ("target", "objective", "exploration")))
# Deviations of samplers of molecules.
ILLEGAL_STOP = ("illegal_stop", "illegal_stop_and_uncounted_early_stops")
# Group, or group=choice, that needs another target than the default.
TARGET_OF = {
    **dict.fromkeys(("data", "score", "graph_prior", "arm/dag_posterior", "experiment_preset/dag_posterior"), "dag"),
    **dict.fromkeys(("arm=structure_learning", "experiment=dag_posterior", "sampler=dag_transformer"), "dag"),
    **dict.fromkeys(("metric=graphs", "report"), "dag"),
    **dict.fromkeys(("sampler=molecule_mpnn", "sampler=molecule_attention"), "molecules"),
    **dict.fromkeys(("metric=molecules", "observer", "report=molecules", "proxy"), "molecules"),
    **dict.fromkeys(("arm/eight_gaussians", "experiment_preset/eight_gaussians"), "eight_gaussians"),
    "experiment=eight_gaussians": "eight_gaussians",
    **dict.fromkeys(("arm/pathwise_variance", "experiment_preset/pathwise_variance", "experiment=pathwise_variance"), "gaussian"),
    "arm/pathwise_variance=mixture": "gaussian_mixture",
    **dict.fromkeys(("arm/molecule_correlation", "experiment_preset/molecule_correlation"), "molecules"),
    **dict.fromkeys((f"deviation={name}" for name in ILLEGAL_STOP), "molecules"),
    "experiment=molecule_correlation": "molecules",
    **dict.fromkeys((*BENCHMARK, "experiment_preset/diffusion_benchmark", "experiment=diffusion_benchmark"), "gmm25"),
    **{f"arm/diffusion_benchmark/target=funnel_{s}": "funnel" for s in (1, 3)},
    **{f"arm/diffusion_benchmark/target={name}": name for name in ("many_well", "log_gaussian_cox")},
    **{f"arm/diffusion_benchmark=whole_machinery_{name}": name for name in ("gmm25", "funnel", "many_well")},
    "arm/proposition_1=tiny_dag": "tiny_dag",
    **{f"sampler={name}": "gaussian" for name in samplers("continuous")},
    **{f"metric={name}": "gaussian" for name in ("target_bounds", "distances", "density_samples", "gradients_along_noise")},
    "metric=closed_form": "gaussian",
    **dict.fromkeys(
        ("estimator", "exploration=widened_steps", "exploration=local_search", "report=densities", "reference"), "gaussian"
    ),
}
# What makes the sampler of a density small, where the sampler is not the choice itself.
SMALL_DIFFUSION = ["sampler=diffusion", "sampler.n_steps=3", "sampler.hidden=[8]"]
# Choice, or group -> what makes its sampler small, where that is no MLP; and those whose sampler is small as it comes.
SIZES = {
    "dag_transformer": ["sampler.width=8"],
    **{name: ["sampler.width=8"] for name in ("molecule_mpnn", "molecule_attention")},
    **{name: ["sampler.n_steps=3", "sampler.hidden=[8]"] for name in ("diffusion", "variance_preserving")},
    "flow": ["sampler.n_couplings=2", "sampler.hidden=[8]"],
    **{name: ["sampler=molecule_attention", "sampler.width=8"] for name in ILLEGAL_STOP},
    **{name: ["sampler.width=8"] for name in ("molecule_correlation", "experiment_preset/molecule_correlation")},
    "whole_machinery_funnel": ["sampler.n_layers=2", "sampler.hidden=[8]"],
}
UNSIZED = {
    "tabular",
    "tabular_random",
    "tiny_exact",
    "mean_field",
    "full_rank",
    "gaussian_mixture_family",
    "linear_chain",
    "closed_form",
}
# Group -> how a choice is made on the command line, and what else it takes to run.
TOP = (
    *("target", "sampler", "exploration", "objective", "optimizer", "evaluation", "logger"),
    *("arm", "arm/paper", "arm/proposition_1", "arm/gradient_variance", "arm/dag_posterior", "arm/eight_gaussians", *BENCHMARK),
    *("arm/pathwise_variance", "arm/molecule_correlation"),
    *("experiment", "preset", "deviation", "sweep", "debug"),
    *(f"experiment_preset/{p.name}" for p in sorted((CONFIGS / "experiment_preset").iterdir())),
)
NESTED = {
    "baseline": ("baseline@objective.baseline", "objective=reverse_wake_sleep"),
    "weighting": ("weighting@objective.weighting", "objective=reverse_kl"),
    "estimator": ("estimator@objective.estimator", "objective=reverse_kl", "baseline@objective.baseline=none"),
    "penalty": ("penalty@objective.penalty", "objective=trajectory_balance"),
    "reward": ("reward@target.reward",),
    "schedule": ("schedule@exploration.epsilon", "exploration=epsilon_uniform"),
    "rate_schedule": ("rate_schedule@optimizer.schedule", "optimizer=sgd"),
    "metric": ("+metric@evaluation.metrics.more",),
    "observer": ("+observer@evaluation.observers.more",),
    "report": ("+report@evaluation.reports.more",),
    "data": ("data@target.data",),
    "reference": ("reference@evaluation.references",),
    "score": ("score@target.score",),
    "proxy": ("proxy@target.proxy",),
    "graph_prior": ("graph_prior@target.prior",),
}
# Group or choice -> what else it needs.
NEEDED = {
    "preset": ["plateau_factor=0.5"],
    **{name: ["exploration=stop_bias"] for name in ("constant_stop_bias", "frozen_backward_and_constant_stop_bias")},
    **{name: ["exploration=early_stop"] for name in ("uncounted_early_stops", "illegal_stop_and_uncounted_early_stops")},
    "exploration": ["objective=trajectory_balance"],  # the default one needs a density, which not all have
    "graph_prior": ["target.data.n_nodes=4"],  # erdos_renyi expects as many edges as nodes, which 3 nodes do not have room for
    "bde": ["target.score.levels=3"],
    "closed_form": ["sampler=linear_chain"],
    "pgmpy_network": ["score@target.score=bde"],
    "seh": [f"target.proxy.weights={weights_file()}"],
}
# What the program adds to a constructor's arguments: no key of a YAML.
SUPPLIED = {"target", "rng", "parameter_groups", "n_replicas", "device"}
SUPPLIED_TO_LOGGERS = {"directory", "name", "config"}
NOT_OF_A_CLASS = {"defaults", "_target_", "_partial_"}


def yamls(group: str) -> list[Path]:
    return sorted((CONFIGS / group).glob("*.yaml"))


FILES = sorted(p for p in CONFIGS.rglob("*.yaml") if "hydra" not in p.parts)
CHOICES = [(group, p.stem) for group in (*TOP, *NESTED) for p in yamls(group)]


def overrides(group: str, choice: str) -> list[str]:
    """The command line that makes the choice in a small run."""
    folder, _, rest = group.partition("/")
    target = choice if group == "target" else TARGET_OF.get(f"{group}={choice}", TARGET_OF.get(group, "hypergrid"))
    # a choice of data is the size of its table
    shape = ["target=dag"] if group == "data" else small_target(target)
    small = SMALL_DIFFUSION if target in density_targets() and group != "sampler" else ["sampler.hidden=[8]"]
    size = [*BATCHES, *shape, *([] if choice in UNSIZED else SIZES.get(choice, SIZES.get(group, small)))]
    if group in NESTED:
        key, *parent = NESTED[group]
        return [*size, *parent, f"{key}={choice}", *NEEDED.get(group, []), *NEEDED.get(choice, [])]
    if folder == "experiment_preset":
        arms = rest if (CONFIGS / "arm" / rest).is_dir() else "paper"
        arm = (
            "trajectory_balance"
            if (CONFIGS / "arm" / arms / "trajectory_balance.yaml").is_file()
            else yamls(f"arm/{arms}")[0].stem
        )
        return [f"experiment={rest}", f"preset={choice}", f"arm={arms}/{arm}", *size]
    chosen = f"{folder}={rest}/{choice}" if rest else f"{group}={choice}"
    return [chosen, *NEEDED.get(folder, []), *NEEDED.get(choice, []), *size]


def test_every_folder_is_known_here() -> None:
    found = {str(p.parent.relative_to(CONFIGS)) for p in FILES}
    assert found == {*TOP, *NESTED, "."}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_runs_an_update(group: str, choice: str) -> None:
    """And measures what it says it measures: the names it records, every value with a replica axis of the right length."""
    trainer = make_trainer(*overrides(group, choice), replicas=2)
    trainer.update()
    measured = trainer.measure()
    for name, value in measured.items():
        assert value.shape == (2,), name
    assert set(measured) == recorded_names(trainer.parts.metrics, trainer.parts.target)


@pytest.mark.parametrize("choice", [p.stem for p in yamls("logger")])
def test_every_logger_is_built_told_and_closed(choice: str, tmp_path: Path) -> None:
    """As a run builds it; every one but csv, which is always written, leaves files in a folder of its name."""
    config = composed(f"logger={choice}")
    assert all(node.get("mode", "offline") == "offline" for node in loggers(config.logger).values())
    expected = {"csv": set(), "both": {"wandb", "tensorboard"}}.get(choice, {choice})
    sinks = build_sinks(config, tmp_path)
    assert len(sinks) == len(expected)
    for sink in sinks:
        sink.write(1, 8, {"loss": [0.5, 1.5]})
        sink.close(failed=False)
    written = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > 0}
    assert written == expected


def nodes(config: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every (key, node) with a `_target_`, however deep."""
    if isinstance(config, dict):
        if config.get("_target_") is not None:
            yield key, config
        for name, value in config.items():
            yield from nodes(value, f"{key}.{name}")
    elif isinstance(config, list):
        for i, value in enumerate(config):
            yield from nodes(value, f"{key}[{i}]")


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_keys_are_the_arguments_of_the_constructor(group: str, choice: str) -> None:
    """None missing, none extra. What a schedule of another shape does not use has a default and may be left out."""
    config = OmegaConf.to_container(composed(*overrides(group, choice)))
    found = list(nodes(config))
    assert found
    for key, node in found:
        module, _, name = node["_target_"].rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values()), key
        keys = set(node) - NOT_OF_A_CLASS
        optional = {n for n, p in parameters.items() if p.default is not p.empty}
        supplied = SUPPLIED_TO_LOGGERS if key.startswith(".logger") else SUPPLIED
        assert keys <= set(parameters) - supplied, f"{key}: unknown keys {keys - set(parameters)}"
        missing = set(parameters) - supplied - keys
        given_later = missing if node.get("_partial_") else optional if name == "Schedule" else set()
        assert missing <= given_later, f"{key}: missing {missing}"


def uncommented(text: str) -> list[str]:
    """Keys with a value of their own that neither their line, the comment above it, nor the file's head explains.

    Hydra explains its own keys, and an interpolation is explained where it points to.
    """
    lines = text.splitlines()
    n_head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = set(re.findall(r"\w+", " ".join(lines[:n_head])))
    missing, outermost = [], ""
    for i, line in enumerate(lines):
        found = re.match(r"( *)(?:- )?(\w+):(.*)", line)
        if found is None:
            continue
        indent, key, rest = found.groups()
        outermost = outermost if indent else key
        above = lines[i - 1].strip().startswith("#") if i else False
        parent = rest.strip() == "" or rest.strip().startswith("{")
        elsewhere = outermost in ("defaults", "hydra") or key in NOT_OF_A_CLASS or "${" in rest
        if not (elsewhere or parent or "#" in rest or above or key in head):
            missing.append(key)
    return missing


def test_the_search_for_comments_finds_what_is_missing() -> None:
    assert uncommented("# Head says r1.\ndefaults:\n  - a: b\n_target_: x\nr1: 2\nr2: 3\nr3: 1  # why\nr4:\n  - b: 1\n") == [
        "r2",
        "b",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_key_is_explained(path: Path) -> None:
    """Differences to other files (arms, experiments, debug) are explained where the key is at home."""
    text = path.read_text()
    assert text.startswith("#"), "the first line says what the file is"
    if "@package _global_" not in text:
        assert uncommented(text) == []
