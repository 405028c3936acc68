"""What Hydra demands to live in its namespace: the sweepers. The rest of them is in gfn_vi.sweeps.

Hydra's search executes every module here, outside sys.modules: they are light, and define no dataclasses, which would fail.
"""
