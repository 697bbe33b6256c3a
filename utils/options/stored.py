"""The options that a run keeps in its config.json, and what --resume may change of them."""

import argparse
import json
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.options.defaults import CHOICES, DEFAULTS

# A resumed run may change these: they decide where and how long it runs, not what it computes.
CHANGED_ON_RESUME = {"device", "workers", "print_freq", "total_epoch"}
# Where a run's data lie, which may have moved since; what they hold must be the same.
DATA_PLACES = ("path_images", "labels", "classes", "noise_file")
MAY_MOVE = (*DATA_PLACES, "cache")
ADDED_LATER = {"randaugment": False}  # what runs did before there was a flag for it


def read_config(run: str) -> dict[str, Any]:
    """config.json of the run in the folder `run`: its options, versions and data.

    Raises:
        UserError: it is no run.
        PermissionError: it may not be read.
    """
    path = Path(run) / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        options, data = ADDED_LATER | dict(config["options"]), dict(config["data"])
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{run} is no run: expected a readable {path} written by a training script"
        ) from error
    broken = [name for name in options if name in DEFAULTS and not is_of_kind(name, options[name])]
    names = data.get("classes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        broken.append("classes")
    if broken:
        raise UserError(
            f"{run} was written by another version or changed by hand: its config.json has no "
            f"usable {', '.join(broken)}"
        )
    return {"options": options, "data": data}


def is_of_kind(name: str, value: Any) -> bool:
    """Whether a stored option is what its flag gives."""
    default = DEFAULTS[name]
    if name == "img_size":
        return isinstance(value, int) and 16 <= value <= 2**14
    if name == "noise_rate":
        return value is None or (isinstance(value, (int, float)) and 0 <= value <= 0.99)
    if name == "ablate":
        return value is None or isinstance(value, list)
    if name in CHOICES:
        return value in CHOICES[name]
    if default is None or (value is None and name == "partial_rate"):
        return True  # None stands for a rate that a candidate file brings
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))


def options_of_run(given: argparse.Namespace) -> argparse.Namespace:
    """The options stored in the run `given.resume`, with those that may change on resume."""
    stored = read_config(given.resume)["options"]
    # Another script's options differ, which must not be taken for damage.
    if stored.get("script", given.script) != given.script:
        raise UserError(f"{given.resume} is a run of {stored['script']}.py: resume it with that")
    lacking = [name for name in vars(given) if name not in stored and name != "resume"]
    if lacking:
        raise UserError(
            f"{given.resume} was written by another version or changed by hand: its config.json "
            f"has no usable {', '.join(lacking)}; start a new run"
        )
    stored["output_dir"] = given.resume
    for name, value in vars(given).items():
        if value is None or name == "resume":
            continue
        if (name, value) == ("amp", "auto"):  # the run has chosen
            continue
        moved = name == "path_images" or (name in MAY_MOVE and stored.get(name) is not None)
        if name not in CHANGED_ON_RESUME and not moved and value != stored.get(name):
            raise UserError(
                f"--{name} {value} differs from the {stored.get(name)} of {given.resume}: a "
                "resumed run keeps its options; leave the flag out, or start a new run"
            )
        stored[name] = value
    return argparse.Namespace(**stored | {"resume": given.resume})
