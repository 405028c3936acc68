"""What W&B and TensorBoard have of a run, read back from their files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path


def raw_records(path: Path) -> Iterator[bytes]:
    """Records of a .wandb file: leveldb's log format in blocks of 32 KiB."""
    block, position, buffer = 32768, 7, b""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind == 1:
            yield chunk
        elif kind == 2:
            buffer = chunk
        else:
            buffer += chunk
            if kind == 4:
                yield buffer


def read_wandb(directory: Path) -> dict:
    from wandb.proto import wandb_internal_pb2

    (path,) = directory.glob("*.wandb")
    content: dict = {"history": [], "config": {}, "step_metric": {}}
    for raw in raw_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            content["history"].append({k: v for k, v in items.items() if k not in ("_runtime", "_timestamp")})
        elif kind == "run":
            content |= {"id": record.run.run_id, "name": record.run.display_name, "project": record.run.project}
            run = record.run
            content |= {"group": run.run_group, "tags": list(run.tags), "job_type": run.job_type, "notes": run.notes}
            content["config"] |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
        elif kind == "metric":
            content["step_metric"][record.metric.glob_name or record.metric.name] = record.metric.step_metric
        elif kind == "exit":
            content["exit_code"] = record.exit.exit_code
    return content


def offline_runs(directory: Path) -> list[dict]:
    return [read_wandb(path) for path in sorted((directory / "wandb").glob("offline-run-*"))]


def read_tensorboard(directory: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
