"""Objects of targets as a table has them: graphs, sequences, named coordinates."""

from __future__ import annotations

import torch
from building import composed, make_target

from gfn_vi import build
from gfn_vi.interface.objects import arrays_of, columns_of


def target_of(*overrides: str):  # type: ignore[no-untyped-def]
    return build.build_target(composed(*overrides), torch.device("cpu"))


def test_graphs() -> None:
    target = target_of("target=dag", "data@target.data=erdos_renyi", "target.data.n_nodes=3")
    target.node_names = ("a", 'b "q"', "c")
    states = target.initial(1, 3)[0]
    for row, moves in enumerate(([], [(0, 1), (1, 2)], [(0, 2), (1, 2)])):
        for i, j in moves:
            states[row] = target.step(states[row], torch.tensor(3 * i + j))
    found = columns_of(target, states)
    assert found["edges"] == ["", 'a -> b "q"; b "q" -> c', 'a -> c; b "q" -> c']
    assert found["adjacency"] == ["000/000/000", "010/001/000", "001/001/000"]
    assert found["cpdag"] == ["", 'a -- b "q"; b "q" -- c', 'a -> c; b "q" -> c']
    assert found["dot"][1] == 'digraph { "a"; "b \\"q\\""; "c"; "a" -> "b \\"q\\""; "b \\"q\\"" -> "c"; }'
    arrays = arrays_of(target, states)
    assert arrays["adjacency"].shape == arrays["cpdag"].shape == (3, 3, 3)
    assert arrays["cpdag"][1].sum() == 4


def test_sequences() -> None:
    """The same bits, items and spins that the targets' own methods count."""
    bits = target_of(
        "target=bit_sequences", "target.length=6", "target.word=2", "target.modes=['010011']", "target.mode_distance=1"
    )
    assert columns_of(bits, torch.tensor([[2, 1, 4], [0, 4, 1]]))["object"] == ["010011", "__1100"]
    assert float(bits.log_reward(torch.tensor([[2, 1, 4]]))) == 0
    orders = target_of("target=permutations", "target.n_items=3")
    assert columns_of(orders, torch.tensor([[3, 1, 2], [1, 0, 0]]))["object"] == ["2 0 1", "0 _ _"]
    spins = target_of("target=ising", "target.side=2")
    assert columns_of(spins, torch.tensor([[2, 1, 1, 0]]))["object"] == ["+-/-_"]
    assert arrays_of(spins, torch.tensor([[2, 1, 1, 2]]))["object"].tolist() == ["+-/-+"]


def test_coordinates_and_numbers() -> None:
    density = target_of("target=gaussian")
    assert list(columns_of(density, torch.zeros(2, 2))) == ["x0", "x1"]
    density.coordinate_names = ("age", "weight")
    assert list(columns_of(density, torch.zeros(2, 2))) == ["age", "object.weight"]
    assert arrays_of(density, torch.zeros(2, 2))["names"].tolist() == ["age", "weight"]
    grid = make_target("grid3x3")
    assert {name: column.tolist() for name, column in columns_of(grid, torch.tensor([[0, 2]])).items()} == {"x0": [0], "x1": [2]}
    assert list(columns_of(object(), torch.zeros(1, 2, 2))) == ["x0_0", "x0_1", "x1_0", "x1_1"]
