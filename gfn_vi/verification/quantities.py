"""Numbers that theorems 1 to 6 (gfn_vi/verification/__init__.py) leave open: ELBO, EUBO, power means, the sides of theorem 6.

Theorems 1 to 5 compare gradients, which a constant error leaves as they are, and theorem 6 is an inequality, which holds for a
left side that was lost. Here each number by recursion over the state graph must be the number by listing trajectories.
"""

from __future__ import annotations

import torch

from gfn_vi.verification.check import Check, compare, worst
from gfn_vi.verification.referee import Referee
from gfn_vi.verification.theorems import Theorems

# Orders of log_power: those of squared Hellinger and chi-square, and one between them.
ORDERS = (0.5, 1.3, 2.0)


def sides_by_both_ways(theorems: Theorems, referee: Referee) -> Check:
    """Compare numbers [R] by recursion (left) and by listing (right) of one sampler on one target; the worst one is shown.

    ELBO = -E_{P_F}[l], EUBO = -E_{P_B}[l], log of the sum of P_F^a (R P_B)^(1 - a), and both sides of theorem 6.
    """
    listed, expectations = referee.listed, theorems.exact.under("P_F")
    theirs = {check.claim.split(" <=")[0]: check for check in referee.data_processing()}
    with torch.no_grad():
        log_pf, log_reward_pb, log_ratio = listed.log_pf, listed.log_pb + listed.log_reward, listed.log_ratio
        pairs = [
            (expectations.elbo(), -(log_pf.exp() * log_ratio).sum(1)),
            (expectations.eubo(), -(listed.log_target.exp() * log_ratio).sum(1)),
        ]
        for order in ORDERS:
            by_listing = (order * log_pf + (1 - order) * log_reward_pb).logsumexp(1)
            pairs.append((expectations.log_power(order), by_listing))
        for ours in theorems.data_processing():
            same = theirs[ours.claim.split(" <=")[0]]
            pairs += [(ours.left, same.left), (ours.right, same.right)]
        found = [compare(left.double()[:, None], right.double()[:, None]) for left, right in pairs]
    return Check(6, "ELBO, EUBO, power means and all sides: the same by recursion", "both", *worst(found))
