"""The largest reward among the samples of an evaluation: what someone who searches for one good object looks at."""

from torch import Tensor

from gfn_vi.core.headline import Headline
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement


class BestReward(BaseMetric):
    """best_log_reward [R], among n_samples trajectories of P_F; metrics of one evaluation share them."""

    kind = "sampled"
    headline = Headline("best_log_reward", "maximize", -float("inf"), "best log-reward")
    summary = ("best_log_reward",)

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples

    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        trajectories, _ = moment.samples
        return {"best_log_reward": trajectories.log_reward.double().amax(-1)}
