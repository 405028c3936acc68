"""What a search draws from, by what is written on the command line."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from gfn_vi.core.errors import ConfigError
from hydra_plugins.gfn_vi.search_results import overrides_of
from hydra_plugins.gfn_vi.search_space import Space, last_of_each_key, space_of

# as written -> distribution, number of points
WRITTEN = {
    "interval(0.5,2.0)": (FloatDistribution(0.5, 2.0), float("inf")),
    "interval(1,2.0)": (FloatDistribution(1, 2.0), float("inf")),
    "tag(log,interval(1e-4,1e-1))": (FloatDistribution(1e-4, 1e-1, log=True), float("inf")),
    "int(interval(1,8))": (IntDistribution(1, 8), 8),
    "tag(log,int(interval(1,8)))": (IntDistribution(1, 8, log=True), 8),
    "range(1,4)": (IntDistribution(1, 3), 3),  # Hydra's end is exclusive
    "range(8,0,-2)": (IntDistribution(2, 8, step=2), 4),
    "range(0,1,0.25)": (FloatDistribution(0, 0.75, step=0.25), 4),
    "a,b": (CategoricalDistribution(["a", "b"]), 2),
    "0.1,null": (CategoricalDistribution(["0.1", "null"]), 2),
    "[8,8],[16]": (CategoricalDistribution(["[8,8]", "[16]"]), 2),
}


def space(*lines: str) -> Space:
    """The space of some overrides."""
    return space_of(OverridesParser.create().parse_overrides(list(lines)))


@pytest.mark.parametrize("written", WRITTEN)
def test_sweep_syntax_is_a_distribution(written: str) -> None:
    found: tuple[BaseDistribution, float] = WRITTEN[written]
    one = space(f"x={written}")
    assert (one.searched["x"], one.n_points()) == found


def test_the_last_word_on_a_key_counts() -> None:
    """A command line fixes what params search, and searches what they fix."""
    found = space("a=interval(0.0,1.0)", "b=3", "+c=1", "a=0.5", "b=1,2")
    assert found.searched == {"b": CategoricalDistribution(["1", "2"])}
    assert found.fixed == ["a=0.5", "+c=1"]


NO_SPACE = ("x=tag(log,interval(0.0,1.0))", "x=interval(2,1)", "seed=1,2", "replicas=interval(1,3)", "x=1e-3,0.001")
OF_TARGETS = ("target=hypergrid,ising", "target.side=int(interval(4,8))", "reward@target.reward=cosine,corners")


@pytest.mark.parametrize("line", [*NO_SPACE, *OF_TARGETS])
def test_what_is_no_space_is_refused_by_its_key(line: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{line.partition('=')[0]}="):
        space(line)


def test_parameters_are_written_with_every_digit() -> None:
    """A trial that is taken up again must be the same run."""
    value = 0.1 + 0.2
    (line,) = overrides_of({"optimizer.lr_forward": value})
    assert float(line.partition("=")[2]) == value


def test_of_a_key_the_last_override_counts_however_it_is_written() -> None:
    """A key that the first one added is not in the configuration: the last one adds it."""
    assert last_of_each_key(["+x=1", "y=1", "~z", "x=2", "+y=2", "z=3"]) == ["+x=2", "+y=2", "z=3"]
    assert last_of_each_key(["x=1", "xy=2", "++x=3", "x=4"]) == ["++x=4", "xy=2"]
