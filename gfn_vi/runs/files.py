"""The names of a run's files and of a sweep's, and the columns of metrics.csv: spelled here and nowhere else."""

from __future__ import annotations

CONFIG = "config.yaml"  # the resolved configuration
STATUS = "status.json"  # who writes it, in which versions, and how far it is
METRICS = "metrics.csv"  # every recorded number
ARRAYS = "arrays.npz"  # what pictures need of the distribution that was learned
LOG = "run.log"
LOCK = "run.lock"  # held while a process writes the run
SENT = "sent.json"  # which mirrors have all of it, once it is finished
OWNER = "run.owner"  # which process that is, in words
CHECKPOINT = "checkpoint.pt"
MANIFEST = "sweep.json"  # of the folder that holds the runs: which ones were asked for

# A folder that holds one of these is a run.
RUN_FILES = (CONFIG, METRICS, STATUS)
COLUMNS = ("step", "trajectories", "reward_calls", "wall_seconds", "replica", "metric", "value")
