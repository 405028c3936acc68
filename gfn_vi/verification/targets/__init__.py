"""What a target owes to everything that works with it (gfn_vi/core/protocols.py), as checks that name a state for each fault.

findings.py: what a check finds; asking.py: every question to a target, of which shape, type and side effects are looked at;
space.py: the states that are asked about, all of them or those of random walks; moves.py, values.py, facts.py: the checks of
targets with states; points.py, density_values.py, density_facts.py: those of densities on R^d; answers.py: those of both;
report.py: all of them in order.
"""
