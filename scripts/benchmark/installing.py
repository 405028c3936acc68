"""Other GFlowNet packages, each in an environment of its own under .peers/ of the clone, timed by scripts/benchmark/peers/."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.cases import HYPERGRID, Case, UsageError
from benchmark.dags import DAG, DagCase

CLONE = Path(__file__).resolve().parents[2]
# 10 lines of pip say what went wrong.
ERROR_LINES = 10


@dataclass(frozen=True)
class Peer:
    """installs: requirements, one call of pip after the other; all but the first keep to what the earlier ones installed.

    scripts: kind of a case -> the file in scripts/benchmark/peers that times it.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]
    scripts: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Folder of its virtual environment."""
        return CLONE / ".peers" / self.name

    @property
    def python(self) -> Path:
        """Its Python interpreter."""
        return self.folder / "bin" / "python"

    def script(self, kind: str) -> Path:
        """Return the file that times a case of that kind."""
        return Path(__file__).parent / "peers" / self.scripts[kind]


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        # torch first and exact: the version that requirements.lock has, from wherever pip finds it. Its BayesianStructure keeps
        # graphs as objects and goes through them in Python for masks, features and scores; it is not compared on DAGs.
        Peer("torchgfn", (("torch==2.13.0",), ("torchgfn==2.4.1",)), {HYPERGRID: "torchgfn_benchmark.py"}),
        # equinox is what its baselines build networks with; gfnx wants numpy 1.26, which newer releases of jax refuse.
        Peer(
            "gfnx",
            (("gfnx==0.0.1", "jax==0.6.2", "jaxlib==0.6.2", "equinox==0.13.8", "optax==0.2.8", "numpy==1.26.4"),),
            {HYPERGRID: "gfnx_benchmark.py", DAG: "gfnx_dag_benchmark.py"},
        ),
    )
}


def peers_of(case: Case | DagCase) -> list[Peer]:
    """Return the peers that have what the case trains on."""
    return [peer for peer in PEERS.values() if case.kind in peer.scripts]


def ensure_installed(peer: Peer) -> None:
    """Make the environment unless it is there with these very requirements. Raises UsageError with pip's last words."""
    wanted = "\n".join(requirement for install in peer.installs for requirement in install) + "\n"
    installed = peer.folder / "installed.txt"
    if installed.is_file() and installed.read_text() == wanted:
        return
    print(f"installing {peer.name} into {peer.folder} (once, 1 to 5 minutes)", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(peer.folder)], peer)
    constraints = peer.folder / "constraints.txt"
    fixed: list[str] = []
    for install in peer.installs:
        constraints.write_text("".join(f"{line}\n" for line in fixed))
        _run([str(peer.python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *install], peer)
        fixed += install
    installed.write_text(wanted)


def _run(command: list[str], peer: Peer) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        words = "\n".join(done.stdout.splitlines()[-ERROR_LINES:])
        raise UsageError(f"{peer.name} cannot be installed; {' '.join(command)} said:\n{words}")
