"""The options that a run keeps in its config.json, and what --resume may change of them."""

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.options.choices import DATASETS, FORMER_ABLATIONS
from utils.options.table import UNSET, flags_of
from utils.options.training import ADDS_NOISE, SCRIPTS, TrainingOptions, defaults

TO_FIND_CANDIDATES = ("script", "dataset", "seed", "partial_rate", "noise_file")
# Which may have moved since.
DATA_PLACES = ("path_images", "labels", "classes", "rename", "noise_file")


def given_places(options: Any) -> dict[str, str]:
    """Those options of a script that say where a run's data lie now, and were given."""
    places = {name: getattr(options, name) for name in DATA_PLACES}
    return {name: place for name, place in places.items() if place is not None}


def stored_names(script: str) -> list[str]:
    """The options that a run of `script` keeps."""
    traits = SCRIPTS[script].traits
    return ["script"] + [
        name
        for name, (_, flag) in flags_of(TrainingOptions).items()
        if flag.stored and (not flag.trait or flag.trait in traits or flag.trait == ADDS_NOISE)
    ]


def to_store(options: TrainingOptions) -> dict[str, Any]:
    """The part of a run's options that config.json keeps, JSON-ready."""
    return {name: getattr(options, name) for name in stored_names(options.script)}


def read_config(folder: str) -> dict[str, Any]:
    """config.json of the run in `folder`: its options and data.

    Raises:
        UserError: it is no run.
        PermissionError: it may not be read.
    """
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        options, data = since_defaults() | dict(config["options"]), dict(config["data"])
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{folder} is no run: expected a readable {path} written by a training script"
        ) from error
    broken = unusable(options)
    names = data.get("classes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        broken.append("classes")
    if broken:
        raise UserError(
            f"{folder} was written by another version or changed by hand: its config.json has no "
            f"usable {', '.join(broken)}"
        )
    if options.get("ablate"):
        options["ablate"] = [FORMER_ABLATIONS.get(part, part) for part in options["ablate"]]
    return {"options": options, "data": data}


def since_defaults() -> dict[str, Any]:
    """Values of options that older runs lack: what they did."""
    flags = flags_of(TrainingOptions).items()
    return {name: flag.since_value for name, (_, flag) in flags if flag.since_value is not UNSET}


def unusable(stored: Mapping[str, Any]) -> list[str]:
    """The names of stored options whose value is none that their flag gives.

    Data set and script are not among them: whoever needs the weights alone may have others.
    """
    wrong = []
    for name, (field, flag) in flags_of(TrainingOptions).items():
        if name not in stored or name == "dataset":
            continue
        value = stored[name]
        if value is None:
            usable = field.default is None or type(None) in typing.get_args(field.type)
        elif flag.many:
            usable = isinstance(value, list) and all(map(flag.kind.holds, value))
        else:
            usable = flag.kind.holds(value)
        if not usable:
            wrong.append(name)
    return wrong


def run_options(
    stored: Mapping[str, Any], folder: str | Path, needed: Collection[str] = TO_FIND_CANDIDATES
) -> TrainingOptions:
    """The options of a run, from `read_config`; those that are not needed may be lacking.

    Args:
        stored: its options.
        folder: of the run, as the message names it.
        needed: options that must be there.

    Raises:
        UserError: some of them are missing, or script or data set are not known.
    """
    lacking = [name for name in needed if name not in stored]
    known = {"script": tuple(SCRIPTS), "dataset": DATASETS}
    lacking += [name for name in known if stored.get(name) not in known[name] and name in stored]
    if lacking:
        raise UserError(
            f"{folder} was written by another version or changed by hand: its config.json has no "
            f"usable {', '.join(lacking)}"
        )
    names = stored_names(stored["script"])
    own = {name: stored[name] for name in names if name in stored}
    return TrainingOptions(**defaults(stored["dataset"]) | own)


def resumed_options(script: str, given: Mapping[str, Any]) -> TrainingOptions:
    """The options stored in the run given["resume"], with those that may change on resume."""
    folder = given["resume"]
    stored = read_config(folder)["options"]
    # Another script's options differ, which must not be taken for damage.
    if stored.get("script", script) != script:
        raise UserError(f"{folder} is a run of {stored['script']}.py: resume it with that")
    options = run_options(stored, folder, stored_names(script))
    options = dataclasses.replace(options, output_dir=folder, resume=folder)
    changes = {}
    for name, value in given.items():
        if name == "resume" or (name, value) == ("amp", "auto"):  # the run has chosen
            continue
        _, flag = flags_of(TrainingOptions)[name]
        before = getattr(options, name)
        moved = flag.on_resume == "move" and (before is not None or name == "path_images")
        if flag.on_resume != "change" and not moved and value != before:
            raise UserError(
                f"--{name} {value} differs from the {before} of {folder}: a resumed run keeps its "
                "options; leave the flag out, or start a new run"
            )
        changes[name] = value
    return dataclasses.replace(options, **changes)
