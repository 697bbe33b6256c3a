"""Settings that the runs of a comparison share, kept in compare.json so that none are mixed."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import write_json

SETTINGS = "compare.json"


def keep(folder: Path, asked: dict[str, Any], added: dict[str, list[str]]) -> None:
    """Keep in compare.json what all runs share, or refuse what differs from earlier runs'.

    Args:
        folder: of the runs.
        asked: dataset, flags, noise and, where there are any, missing, load_from, labels_sha256 and
            load_from_sha256.
        added: definitions of methods that are not built in; later calls may bring others.

    Raises:
        UserError: there are runs, or candidates for them, of other settings; mixed, they would
            mean nothing.
    """
    stored, before = read_settings(folder / SETTINGS)
    if stored and (has_runs(folder, "*") or any(folder.glob("candidates-*.npy"))):
        shared, now = as_flags(stored), as_flags(asked)
        differing = [name for name in now | shared if shared.get(name) != now.get(name)]
        if differing:
            raise UserError(
                f"{folder} holds runs with {described(shared, differing)}, but "
                f"{described(now, differing)} is asked for: give the same flags again, or another "
                "--output_dir"
            )
        places = {"labels": "".join(now.get("--labels", [])), "load_from": asked.get("load_from")}
        for name, place in places.items():
            key = f"{name}_sha256"
            # What is gone may not be needed any more.
            if key in stored and asked.setdefault(key, stored[key]) != stored[key]:
                raise UserError(
                    f"{place} is not what it was for the runs in {folder}: bring it back, or "
                    "give another --output_dir"
                )
    for name, definition in added.items():
        old = before.get(name, definition)
        if by_flag(old) != by_flag(definition) and has_runs(folder, name):
            raise UserError(
                f"{folder} holds runs of {name} as '{shlex.join(old)}', but "
                f"'{shlex.join(definition)}' is asked for: give it another name, or another "
                "--output_dir"
            )
    write_json(folder / SETTINGS, asked | {"added": before | added})


def has_runs(folder: Path, method: str) -> bool:
    """Tell whether a run of a method was begun; "*" stands for any method."""
    names = (f"{method}-rate*-seed*", f"{method}-seed*")
    return any(True for name in names for _ in folder.glob(f"{name}/config.json"))


def read_settings(path: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Read what all runs share, and added definitions, from compare.json; empty without one.

    Raises:
        UserError: the file is damaged.
    """
    try:
        stored = dict(json.loads(path.read_text("utf-8")))
        added = dict(stored.pop("added", {}))
        for words in as_flags(stored), *map(by_flag, added.values()):
            described(words, list(words))  # fails where one is no text
        return stored, added
    except FileNotFoundError:
        return {}, {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: bring it back, or give another --output_dir"
        ) from error


def by_flag(words: Sequence[str]) -> dict[str, list[str]]:
    """The values of each flag; what stands before the first belongs to "".

    >>> by_flag(["--lr=0.1", "--ablate", "scale", "weights", "--allow_missing"])
    {'--lr': ['0.1'], '--ablate': ['scale', 'weights'], '--allow_missing': []}
    """
    values: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            values[name] = [value] if equals else []
        else:
            values.setdefault(name, []).append(word)
    return values


def as_flags(settings: dict[str, Any]) -> dict[str, list[str]]:
    """The settings of compare.json as values of flags."""
    noise = [settings.get("noise", "uniform")]
    if "load_from" in settings:
        noise += ["--load_from", settings["load_from"]]
    if "missing" in settings:
        noise += ["--missing", f"{settings['missing']:g}"]
    return {"--dataset": [settings["dataset"]], "--noise": noise} | by_flag(settings["flags"])


def described(flags: dict[str, list[str]], names: list[str]) -> str:
    """Some flags as they are written.

    >>> described({"--lr": ["0.1"]}, ["--lr", "--img_size"])
    '--lr 0.1, no --img_size'
    """
    texts = [shlex.join([name, *flags[name]]) if name in flags else f"no {name}" for name in names]
    return ", ".join(texts)
