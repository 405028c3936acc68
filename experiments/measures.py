"""The headline of the hypergrid and DAG experiments (arXiv 2210.00580, section 4), for runs that do not say it themselves."""

from __future__ import annotations

import math

from gfn_vi.core.headline import Headline

WORST_JSD = math.log(2)  # for replicas that became NaN
JSD = Headline("jsd", "minimize", WORST_JSD, "exact Jensen-Shannon divergence (nats)")
