"""What the experiments of the paper measure, for runs that do not say it themselves."""

from __future__ import annotations

import math

from gfn_vi.core.headline import Headline

JSD = Headline("jsd", "minimize", math.log(2), "exact Jensen-Shannon divergence (nats)")
