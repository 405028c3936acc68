"""The experiment and its whole sweep, for every test of it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from analysis.dag_posterior.runs import EXPERIMENT, FINAL, table_of, write_run

from gfn_vi.analysis import experiments
from gfn_vi.runs.reading import RunArrays


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    """experiments/dag_posterior/figure.py."""
    return experiments.load(EXPERIMENT / "figure.py")


@pytest.fixture(scope="session")
def judging() -> ModuleType:
    """experiments/dag_posterior/claims.py."""
    return experiments.load(EXPERIMENT / "claims.py")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All arms and sizes on five graphs; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole") / "dag_posterior"
    for arm in FINAL:
        for d in (3, 4, 5):
            for seed in range(5):
                write_run(folder, arm, d, seed)
    return folder


@pytest.fixture(scope="session")
def table(whole: Path) -> pd.DataFrame:
    """Of them."""
    return table_of(whole)


@pytest.fixture(scope="session")
def texts(drawing: ModuleType, whole: Path, table: pd.DataFrame) -> dict[str, str]:
    """What is written beside their figure."""
    return dict(drawing.tables(table, RunArrays(whole)))
