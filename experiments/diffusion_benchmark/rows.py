"""The numbers of every setting at the end of training, beside published ones of the same method.

Published numbers belong to another budget (published.py); they stand in columns of their own and are judged by no test here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from gfn_vi.experiments.diffusion_benchmark.published import BY_SETTING, PUBLISHED, SOURCE, Published
from gfn_vi.experiments.diffusion_benchmark.settings import GAP, Setting, Settings, spread

COLUMNS = ("bound", "reweighted", "w2")
COUNTS = ("replicas", "non_finite", "reweighted_weak", "trajectories", "reward_calls", "score_calls")


def benchmark_rows(found: Settings) -> pd.DataFrame:
    """Return a row per setting, then one per published method that this experiment does not have.

    Columns: density, arm, replicas, non_finite, reweighted_weak (replicas whose importance weights do not carry the reweighted
    estimate); of each number in `numbers` the median with low and high (spread); means of
    trajectories, reward_calls and score_calls; published_source, _method, _bound, _reweighted, _w2. Not known is empty.
    """
    rows = []
    for (arm, density), setting in found.items():
        row: dict[str, object] = {"density": density, "arm": arm, "replicas": len(setting.elbo.final)}
        row |= {"non_finite": setting.n_failed, "reweighted_weak": setting.n_weak}
        for name, values in numbers(setting).items():
            low, median, high = (math.nan,) * 3 if np.isnan(values).all() else spread(values)
            row |= {f"{name}_median": median, f"{name}_low": low, f"{name}_high": high}
        row["trajectories"] = int(setting.elbo.x[-1])
        row |= {"reward_calls": setting.reward_calls.mean(), "score_calls": setting.score_calls.mean()}
        published = BY_SETTING.get((arm, density))
        rows.append(row | (_published(published) if published is not None else {}))
    rows += [{"density": row.density} | _published(row) for row in PUBLISHED if row.arm is None]
    table = pd.DataFrame(rows)
    whole = table[list(COUNTS)].round().astype("Int64")  # a mean of calls is a whole number wherever replicas spend the same
    return table.assign(**whole)


def numbers(setting: Setting) -> Mapping[str, np.ndarray]:
    """Return name -> values of the replicas at the end, [R]; NaN where the density does not have it."""
    return {
        "bound_error": setting.bound_error,
        "reweighted_error": setting.reweighted_error,
        "w2": setting.final("w2"),
        "w2_floor": setting.final("w2_floor"),
        "bound_gap": setting.final(GAP.metric),
        "mode_mass_error": setting.final("mode_mass_error"),
        "well_error": setting.final("well_error"),
        "elbo": setting.elbo.final,
        "log_Z": setting.log_Z.final,
    }


def csv_text(rows: pd.DataFrame) -> str:
    """Return the rows as CSV text, numbers with four digits."""
    return rows.to_csv(index=False, float_format="%.4g", lineterminator="\n")


def _published(row: Published) -> dict[str, object]:
    told = {f"published_{name}": getattr(row, name) for name in COLUMNS}
    return {"published_source": SOURCE, "published_method": row.method, **told}
