"""`evaluation=exact` in runs on densities: what is measured in one dimension, what takes its place elsewhere, what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from building import composed, generators, make_trainer

from gfn_vi.build import build_trainer
from gfn_vi.core.errors import ConfigError
from gfn_vi.training.result import final_arrays

LINE = ("target=gaussian_mixture", "target.dim=1", "target.means=[[-2.0],[1.5]]", "target.covariance=[0.3,0.5]")
SMALL = ("target.log_weights=[-0.4,-1.1]", "sampler=diffusion", "sampler.n_steps=4", "sampler.hidden=[8]", "dtype=float64")
QUIET = ("evaluation.n_samples=500", "trainer.batch_size=32", "replicas=2")


def test_a_density_of_one_dimension_is_measured_exactly() -> None:
    """All of what is measured on graphs, the gap of the bounds besides; the estimates beside them agree."""
    trainer = make_trainer(*LINE, *SMALL, *QUIET, "evaluation=both", "evaluation.n_samples=4000")
    for _ in range(20):
        trainer.update()
    found = trainer.measure()
    exact = ("jsd", "l1", "total_variation", "kl_forward", "kl_reverse", "elbo", "eubo", "ess", "log_Z_error", "modes_covered")
    assert {*exact, "bound_gap"} <= set(found)
    assert trainer.parts.headline is not None
    assert trainer.parts.headline.metric == "jsd"
    assert bool(((found["sampled_elbo"] - found["elbo"]).abs() < 5 * found["sampled_elbo_se"]).all())
    assert bool(((found["sampled_ess"] - found["ess"]).abs() < 6 * found["sampled_ess_se"]).all())
    assert bool((found["elbo"] < float(trainer.parts.target.log_Z)).all())  # type: ignore[attr-defined]
    torch.testing.assert_close(found["bound_gap"], found["eubo"] - found["elbo"])
    assert "eubo_se" not in found  # an error of an exact number
    assert "ess_forward" in found


def test_modes_are_counted_by_their_mass() -> None:
    """P_F = N(0, 1) puts its mass on the mode at 0.5 and next to none on the one at -4; a target without modes has no count."""
    words = (*LINE, SMALL[0], "target.means=[[-4.0],[0.5]]", "sampler=mean_field", "dtype=float64", *QUIET)
    assert make_trainer(*words).measure()["modes_covered"].tolist() == [1.0, 1.0]
    words = ("target=gaussian", "target.dim=1", "target.covariance=1.0", "sampler=mean_field", *QUIET)
    trainer = make_trainer(*words)
    assert trainer.parts.target.n_modes is None  # type: ignore[attr-defined]
    assert "modes_covered" not in trainer.measure()


def test_the_arrays_are_densities_on_the_nodes() -> None:
    trainer = make_trainer(*LINE, *SMALL, *QUIET)
    arrays: dict[str, Any] = final_arrays(trainer, 0, 100)
    nodes, target, learned = (arrays[name] for name in ("nodes", "target_density", "learned_density"))
    assert target.shape == nodes.shape == learned.shape[1:]
    spacing = float(nodes[1] - nodes[0])
    total = float(trainer.parts.target.log_Z)  # type: ignore[attr-defined]
    torch.testing.assert_close(target, (trainer.parts.target.log_reward(nodes[:, None]) - total).exp(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(learned.sum(1) * spacing, torch.ones(2).double(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("words", [("target=gaussian",), (*LINE, SMALL[0], "evaluation.quadrature=null")])
def test_elsewhere_samples_take_its_place_without_a_word(words: tuple[str, ...]) -> None:
    trainer, remarks = build_trainer(composed(*words, *SMALL[1:], *QUIET))
    assert remarks == []
    assert "sampled_elbo" in trainer.measure()
    assert "jsd" not in trainer.measured


MANY = ("sampler.n_steps=400",)


def test_a_line_that_is_too_long_is_a_remark_where_nobody_asked_for_one() -> None:
    trainer, remarks = build_trainer(composed(*LINE, *SMALL, *MANY, *QUIET))
    assert len(remarks) == 1
    assert "nodes from" in remarks[0]
    assert "use fewer sampler.n_steps" in remarks[0]
    assert "using 500 samples per evaluation instead" in remarks[0]
    assert [metric.kind for metric in trainer.parts.metrics].count("exact") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluation.quadrature.low=-12.0", *MANY), "evaluation.quadrature.nodes=None: "),
        (("evaluation.quadrature.nodes=31",), "evaluation.quadrature.nodes=31: a spacing of "),
        (("evaluation.quadrature.high=1.0",), "evaluation.quadrature.high=1.0: the line from there misses a probability of "),
    ],
)
def test_a_line_that_was_asked_for_is_refused_where_it_does_not_fit(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build_trainer(composed(*LINE, *SMALL, *QUIET, *words))
    assert str(raised.value).startswith(message)


def test_a_sampler_that_no_line_resolves_any_more_is_nan_and_the_run_goes_on() -> None:
    trainer = make_trainer(*LINE, SMALL[0], "sampler=mean_field", "dtype=float64", *QUIET)
    with torch.no_grad():
        trainer.parts.sampler.log_std.fill_(-20.0)  # type: ignore[attr-defined]
    found = trainer.measure()
    for name in ("jsd", "l1", "elbo", "eubo", "ess", "modes_covered", "log_Z_error"):
        assert bool(found[name].isnan().all()), name


def test_what_is_measured_does_not_depend_on_what_was_measured_before() -> None:
    """The line is found anew: a resumed run measures what the first one would have."""
    trainer = make_trainer(*LINE, *SMALL, *QUIET)
    first = trainer.measure()["jsd"]
    moment = trainer.parts.moment(generators(0, 2, "again"))
    (exact,) = (metric for metric in trainer.parts.metrics if metric.kind == "exact")
    again = exact(moment)
    torch.testing.assert_close(again["jsd"], first, rtol=0, atol=0)


def test_theorems_as_metrics_of_a_run() -> None:
    """Relative errors of all six theorems at what has been learned."""
    trainer = make_trainer(*LINE, *SMALL, "sampler.backward=learned", *QUIET, "evaluation=theorems")
    for _ in range(5):
        trainer.update()
    found = trainer.measure()
    errors = {name: value for name, value in found.items() if name.startswith("theorem_")}
    assert sorted(errors) == [f"theorem_{number}" for number in range(1, 7)]
    for name, value in errors.items():
        assert bool((value < 1e-9).all()), (name, value)


def test_theorems_of_a_replica_that_no_line_resolves_are_nan_and_no_others() -> None:
    trainer = make_trainer(*LINE, *SMALL, "sampler.backward=learned", "sampler.learn_noise=true", *QUIET, "evaluation=theorems")
    with torch.no_grad():
        for parameter in trainer.parts.sampler.parameters():  # type: ignore[attr-defined]
            parameter[1] = math.nan
    errors = {name: found for name, found in trainer.measure().items() if name.startswith("theorem_")}
    assert len(errors) == 6
    for name, found in errors.items():
        assert float(found[0]) < 1e-9, name
        assert math.isnan(float(found[1])), name
