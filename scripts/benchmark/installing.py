"""Other GFlowNet packages, each in an environment of its own under .peers/ of the clone, timed by scripts/benchmark/peers/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmark.cases import Case, UsageError

CLONE = Path(__file__).resolve().parents[2]
# Name -> requirements.
PEERS = {
    # The torch that requirements.lock has. Its BayesianStructure keeps graphs as objects and goes through them in Python for
    # masks, features and scores; it is not compared on DAGs.
    "torchgfn": ("torch==2.13.0", "torchgfn==2.4.1"),
    # equinox is what its baselines build networks with; gfnx wants numpy 1.26, which newer releases of jax refuse.
    "gfnx": ("gfnx==0.0.1", "jax==0.6.2", "jaxlib==0.6.2", "equinox==0.13.8", "optax==0.2.8", "numpy==1.26.4"),
}
# 10 lines of pip say what went wrong.
ERROR_LINES = 10


def peers_of(case: Case) -> list[str]:
    """Return the peers that have what the case trains on."""
    return [peer for peer in PEERS if script(peer, case).is_file()]


def script(peer: str, case: Case) -> Path:
    """Return the file that times such a case; there is none where the peer cannot train so."""
    return Path(__file__).parent / "peers" / f"{peer}_{case.kind}.py"


def environment(peer: str) -> Path:
    """Return the folder of the peer's virtual environment."""
    return CLONE / ".peers" / peer


def ensure_installed(peer: str) -> Path:
    """Return the peer's interpreter; make its environment unless it is there with these very requirements.

    Raises UsageError with pip's last words.
    """
    folder, requirements = environment(peer), PEERS[peer]
    python, installed, wanted = folder / "bin" / "python", folder / "installed.txt", "\n".join(requirements) + "\n"
    if installed.is_file() and installed.read_text() == wanted:
        return python
    print(f"installing {peer} into {folder} (once, 1 to 5 minutes)", flush=True)
    make = [sys.executable, "-m", "venv", "--clear", str(folder)]
    install = [str(python), "-m", "pip", "install", "--quiet", *requirements]
    for command in (make, install):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            words = "\n".join(done.stdout.splitlines()[-ERROR_LINES:])
            raise UsageError(f"{peer} cannot be installed; {' '.join(command)} said:\n{words}")
    installed.write_text(wanted)
    return python
