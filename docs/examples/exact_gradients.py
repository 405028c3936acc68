"""The exact expected gradient of an objective at the initial parameters of three seeds."""

import gfn_vi
from gfn_vi.evaluation.gradients.expected_gradients import expected_gradients

parts = gfn_vi.build_trainer(["target.side=8", "objective=reverse_kl", "replicas=3"]).parts
# under "P_F", "P_B", or the tilt of an exploration; None for an objective that cannot be computed exactly
gradients = expected_gradients(parts.sampler, parts.target.state_graph(), parts.objective, "P_F")
for role, gradient in gradients.items():
    print(role.value, tuple(gradient.shape), gradient.norm(dim=1).tolist())
