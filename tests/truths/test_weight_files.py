"""Files of weights hold arrays and nothing else; what is no such network is refused with the entry."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from molecule_weights import random_weights, weights_file
from torch import Tensor

from gfn_vi import resolvers
from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.proxies.seh import SEHProxy
from gfn_vi.targets.molecules.proxies.seh_network import ENTRIES
from gfn_vi.targets.molecules.proxies.weights import read_weights


def arrays() -> list[np.ndarray]:
    return [weight.numpy() for weight in random_weights(torch.float32).values()]


def read(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    return read_weights(str(path), digest, ENTRIES, "target.proxy.weights")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_are_read_whatever_the_protocol(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps(arrays(), protocol)
    (tmp_path / "plain.pkl").write_bytes(content)
    (tmp_path / "packed.pkl.gz").write_bytes(gzip.compress(content, 1))
    (tmp_path / "named.pkl").write_bytes(pickle.dumps(dict(zip(ENTRIES, arrays(), strict=True)), protocol))
    for path in tmp_path.iterdir():
        found = read(path)
        assert all(torch.equal(found[name], weight) for name, weight in random_weights(torch.float32).items())


def test_archives_are_read_by_name_or_in_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "in_order.npz", *arrays())
    for path in (tmp_path / "in_order.npz", Path(weights_file())):
        found = read(path)
        assert all(torch.equal(found[name], weight) for name, weight in random_weights(torch.float32).items())


class Evil:
    """Whose pickle makes a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was_here",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, held in {"alone.pkl": Evil(), "among.pkl": [*arrays()[:-1], Evil()]}.items():
        Path(name).write_bytes(pickle.dumps(held))
        with pytest.raises(ConfigError, match=rf"target.proxy.weights={name}: expected arrays .* it asks for {os.name}.mkdir"):
            read(Path(name))
    np.savez("objects.npz", *arrays()[:-1], np.array([Evil()], dtype=object))
    with pytest.raises(ConfigError, match="holds more than arrays"):
        read(Path("objects.npz"))
    assert not Path("was_here").exists()


def changed(place: int, array: Any) -> bytes:
    return pickle.dumps([*arrays()[:place], array, *arrays()[place + 1 :]])


BAD_FILES = {
    r"expected 22 arrays, lin0.weight to lin3.bias; it has 21": lambda: pickle.dumps(arrays()[:-1]),
    r"it holds one ndarray": lambda: pickle.dumps(arrays()[0]),
    r"expected 22 arrays, .*; it has a, b": lambda: pickle.dumps({"a": arrays()[0], "b": 1}),
    r"entry 3 \(root.bias\) has the shape \[63\]: expected \[64\]": lambda: changed(3, arrays()[3][:-1]),
    r"entry 2 \(root.weight\) is list: expected an array": lambda: changed(2, [[1.0]]),
    r"entry 21 \(lin3.bias\) is an array of int64": lambda: changed(21, np.array([1])),
    r"entry 21 \(lin3.bias\) is not finite": lambda: changed(21, np.array([np.inf])),
    r"expected arrays and nothing else": lambda: b"just some text",
    r"the file is damaged": lambda: gzip.compress(pickle.dumps(arrays()))[:-100],
    r"damaged, or holds": lambda: b"PK nothing",
    r"the file is empty": lambda: b"",
}


@pytest.mark.parametrize("said", BAD_FILES)
def test_a_file_that_is_no_such_network_is_refused_with_the_entry(said: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(BAD_FILES[said]())
    with pytest.raises(ConfigError, match=rf"^target.proxy.weights=.*weights: .*{said}") as caught:
        read(tmp_path / "weights")
    assert "\n" not in str(caught.value)


def test_weights_are_needed_and_belong_to_the_run() -> None:
    with pytest.raises(ConfigError, match=r"target.proxy.weights=None: expected the file of the pretrained network: best_params"):
        SEHProxy(0.1, None, 8.0, None, None)
    found = resolvers.digest(weights_file(), "target.proxy.weights")
    SEHProxy(0.1, None, 8.0, weights_file(), found)
    with pytest.raises(ConfigError, match="its digest was 0123 and now is"):
        SEHProxy(0.1, None, 8.0, weights_file(), "0123")
    with pytest.raises(ConfigError, match=r"target.proxy.weights=nowhere: there is no such file"):
        resolvers.digest("nowhere", "target.proxy.weights")
    assert resolvers.digest(None, "target.proxy.weights") is None
