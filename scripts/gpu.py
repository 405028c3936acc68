"""Try and time everything on one CUDA device, in at most 8 minutes:

    python scripts/gpu.py FOLDER                 all of it; numbers and what was said are in FOLDER
    python scripts/gpu.py FOLDER device=cpu side=8 settings=2 window=1 case=2x8x64 replicas=1,2 updates=2 warmup=1
                                                 the script itself, where there is no GPU

1. Fig. 1 at the paper's size (experiment=hypergrid_objectives preset=paper): an update of each setting with its five seeds, alone
   and all settings at once; what makes the host wait in an update; how many minutes the figure would take (aim: 30).
2. A rollout and an update as CUDA graphs, or why they cannot be captured.
3. tests/system/test_cuda.py.
4. The cases of scripts/benchmark.py with 1, 8, 64 and 256 replicas: milliseconds, memory, bound, what makes the host wait. A case
   that does not fit or takes too long is skipped and named.

Policies are hardly trained here (5 updates), so trajectories are shorter than those of docs/benchmark.md; on a GPU the time of an
update depends on it little, since nothing is merged or left out there.

On a machine without a network that has a torch (2.10 or newer) of its own, carry what else setup.cfg requires as wheels: here
    python -m pip download --no-deps --only-binary=:all: --python-version X --platform Y -d WHEELS NAME==VERSION ...
for that machine's Python and system, and there
    python -m pip install --no-index --no-deps --target SITE WHEELS/*.whl
    ln -s ../configs ../experiments gfn_vi/                    (a checkout that is not installed needs these links)
    PYTHONPATH=SITE:. python scripts/gpu.py FOLDER
hydra-core, omegaconf and antlr4-python3-runtime (no wheel is published: `pip wheel` makes one) are rarely there already.
"""

from benchmark.gpu import main

if __name__ == "__main__":
    main(description=__doc__)
