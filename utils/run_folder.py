"""A run's folder: what training leaves behind, and what it resumes from."""

import contextlib
import importlib.metadata
import io
import itertools
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision

from utils import distributed, tensor_files
from utils.errors import UserError
from utils.files import atomic_path, check_output_dir, remove_leftovers, write_json
from utils.terminal import warn

CHECKPOINT, WEIGHTS, RESULT = "last.pt", "model.safetensors", "result.json"


class RunFolder:
    """One run's files.

    config.json: every resolved option, processes, library versions, the data's fingerprint.
    metrics.jsonl: one line an epoch.
    result.json: the last epoch's metrics, and apart from them the best ones on the test set.
    last.pt: all that resuming needs. model.safetensors: the weights alone.
    curves.png: loss, learning rate and mAP over epochs; TensorBoard events of the same.

    Of several processes only the first writes.

    Attributes:
        path: the folder.
        history: the lines of metrics.jsonl, as dicts.
    """

    def __init__(self, path: Path, history: list[dict[str, Any]]) -> None:
        self.path, self.history = path, history
        self._identity = identity(path)
        self._events: Any = None
        self._told = len(history)  # epochs whose events are written

    @classmethod
    def create(cls, path: Path, options: dict[str, Any], data: dict) -> "RunFolder":
        """Write a run's config to a folder of its own.

        Args:
            path: the folder, as `new_folder` made it.
            options: resolved options, JSON-ready.
            data: fingerprint and counts of the data.

        Raises:
            UserError: the folder is not empty.
        """
        if distributed.rank() > 0:
            return cls(path, [])
        check_output_dir(path)
        remove_leftovers(path)
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
            "scikit-learn": importlib.metadata.version("scikit-learn"),
        }
        config = {"options": options, "processes": distributed.world_size()}
        write_json(path / "config.json", config | {"versions": versions, "data": data})
        return cls(path, [])

    @classmethod
    def reopen(
        cls, path: str, options: dict[str, Any], data: dict
    ) -> tuple["RunFolder", dict[str, Any] | None]:
        """The run in `path` and its last checkpoint, or None if it has none yet.

        Lines that metrics.jsonl is ahead of the checkpoint are dropped. `options` replace those
        in config.json: resuming may change some.

        Raises:
            UserError: the data changed since the run began, or the checkpoint is damaged.
        """
        folder = Path(path)
        checkpoint = folder / CHECKPOINT
        if (folder / RESULT).exists() and not checkpoint.exists():
            raise UserError(
                f"{path} is finished, but {CHECKPOINT}, from which it would go on, is gone: bring "
                "it back, or start a new run"
            )
        config = json.loads((folder / "config.json").read_text("utf-8"))
        began_with = config["data"]
        if began_with != data:
            changed = [key for key in data if began_with.get(key) != data[key]]
            raise UserError(
                f"the data of {path} changed since the run began ({', '.join(changed)}): bring "
                "back the images and candidates it was started with, or start a new run"
            )
        if distributed.rank() == 0:
            remove_leftovers(folder)
            now = {"options": options, "processes": distributed.world_size()}
            write_json(folder / "config.json", config | now)
        if not checkpoint.exists():
            return cls(folder, []), None
        try:
            state = tensor_files.load(checkpoint)
            history = [check_record(record) for record in state.pop("history")]
        except Exception as error:  # parsers of damaged files raise of any kind
            raise UserError(
                f"{checkpoint} is damaged and cannot be resumed from: start a new run"
            ) from error
        return cls(folder, history), state

    def save_epoch(
        self, record: dict[str, Any], training: dict[str, Any], weights: dict[str, torch.Tensor]
    ) -> None:
        """Add an epoch's record and store everything; last.pt, written last, makes it count."""
        self.history.append(record)
        if distributed.rank() > 0:
            return
        self._check_place()
        with atomic_path(self.path / WEIGHTS) as temporary:
            temporary.write_bytes(tensor_files.safetensors_bytes(weights))
        with atomic_path(self.path / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in self.history), "utf-8")
        self.save_checkpoint(training)

    def save_checkpoint(self, training: dict[str, Any]) -> None:
        """Write last.pt, and the events of epochs that it is the first to hold."""
        if distributed.rank() > 0:
            return
        self._check_place()
        content = io.BytesIO()  # torch.save to a file hides a full disk behind an error of its own
        torch.save(training | {"history": self.history}, content)
        with atomic_path(self.path / CHECKPOINT) as temporary:
            temporary.write_bytes(content.getbuffer())
        self._write_events()

    def _check_place(self) -> None:
        """Refuse to store in another folder than the one that was begun in."""
        if identity(self.path) != self._identity:
            raise UserError(
                f"{self.path} was moved or removed while its run trained: resume it where it lies "
                "now, or start a new run"
            )

    def discard_unless_stored(self) -> None:
        """Remove what a run has written that has no checkpoint."""
        if distributed.rank() == 0 and not (self.path / CHECKPOINT).exists():
            for name in ("config.json", "metrics.jsonl", WEIGHTS):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty: something else is in it
                self.path.rmdir()

    def finish(self) -> dict[str, Any]:
        """Write result.json and curves.png; returns the result."""
        last = self.history[-1]
        best = max(self.history, key=lambda line: -math.inf if line["mAP"] is None else line["mAP"])
        result = last | {"best_on_test": {"epoch": best["epoch"], "mAP": best["mAP"]}}
        if distributed.rank() > 0:
            return result
        self._check_place()
        write_json(self.path / RESULT, result)
        from utils import plots  # slow to import

        with atomic_path(self.path / "curves.png") as temporary:
            plots.training_curves(self.history, temporary)
        if self._events is not None:
            self._events.close()
        return result

    def _write_events(self) -> None:
        """Add what is new to the TensorBoard events; a failure is said and forgotten, all else is
        stored.
        """
        new, self._told = self.history[self._told :], max(self._told, len(self.history))
        if not new:
            return
        try:
            if self._events is None:
                from torch.utils.tensorboard import SummaryWriter  # slow to import

                self._events = SummaryWriter(str(self.path), purge_step=new[0]["epoch"])
            for record in new:
                for name, value in record.items():
                    if name != "epoch" and value is not None:
                        self._events.add_scalar(name, value, record["epoch"])
            self._events.flush()
        except OSError as error:
            warn(f"no TensorBoard events of this epoch: {error}")
        except Exception as error:  # of what it imports, in versions that do not fit together
            self._told = sys.maxsize
            warn(f"no TensorBoard events: it cannot be used ({type(error).__name__}: {error})")


def check_record(record: Any) -> dict[str, Any]:
    """A line of metrics.jsonl that was stored.

    Raises:
        Exception: it is something else.
    """
    values = {name: value for name, value in record.items() if value is not None}
    if not isinstance(record["epoch"], int) or not {"mAP", "train_loss", "lr"} <= record.keys():
        raise ValueError("a record without epoch, loss, mAP and learning rate")
    if None in (record["train_loss"], record["lr"]):  # what was not measured is None
        raise ValueError("a record without loss or learning rate")
    if not all(map(is_number, values.values())):
        raise ValueError("a record of something else than numbers")
    return record


def is_number(value: Any) -> bool:
    """Tell whether a value that JSON gave is a number, and no larger than floats are."""
    return type(value) in (int, float) and not abs(value) > 1e300


def identity(folder: Path) -> tuple[int, int] | None:
    """The identity of a folder until it is moved or removed; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def new_folder(output_dir: str | None, script: str, dataset: str) -> Path:
    """Make a run's folder; without a name, runs/<script>-<dataset>-<time>."""
    path = Path(output_dir or f"runs/{script}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}")
    if output_dir is None and path.exists():  # others began in the same second
        names = (f"{path.name}-{os.getpid() + number}" for number in itertools.count())
        others = map(path.with_name, names)
        path = next(other for other in others if not other.exists())
    path = Path(distributed.broadcast(str(path)))
    if distributed.rank() == 0:
        path.mkdir(parents=True, exist_ok=True)
    return path
