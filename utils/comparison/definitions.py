"""The methods that can be compared: script and flags of each."""

import argparse
import re
import shlex
from collections.abc import Sequence
from typing import Any

from utils.comparison.compare_settings import by_flag
from utils.options.choices import ABLATIONS, FORMER_ABLATIONS, LOSSES
from utils.options.training import SCRIPTS

# {rate} stands for the column's noise rate.
METHODS = {
    "clean": ["main_BCE.py", "--partial_rate", "0"],
    "bce": ["main_BCE.py"],
    "released": ["main_CoNeS.py", "--recipe", "released"],
    "paper": ["main_CoNeS.py", "--recipe", "paper"],
    "posterior": ["main_CoNeS.py", "--recipe", "posterior"],
    "bce-forward-known": ["main_BCE.py", "--loss", "bce-forward", "--noise_rate", "{rate}"],
}
DEFAULT_METHODS = ["clean", "bce", "released", "paper", "posterior"]
BASELINES = [loss for loss in LOSSES if loss != "bce"]
METHODS |= {loss: ["main_BCE.py", "--loss", loss] for loss in BASELINES}
# Each difference between the released code and the paper alone, and posterior less each part.
METHODS["posterior-neighbours"] = [*METHODS["posterior"], "--targets", "classifier"]
METHODS["paper+gap"] = [*METHODS["paper"], "--head", "gap"]
for recipe, sign in ("paper", "+"), ("posterior", "-"):
    for part in ABLATIONS[recipe]:
        METHODS[f"{recipe}{sign}{part}"] = [*METHODS[recipe], "--ablate", part]
ABLATED = [name for name in METHODS if name.startswith(("paper+", "posterior-"))]
# Rows of earlier comparisons, which go on in their folders.
FORMER_METHODS = {
    f"posterior-{former}": METHODS[f"posterior-{part}"] for former, part in FORMER_ABLATIONS.items()
}


def definitions(added: dict[str, list[str]], verified: Sequence[float]) -> dict[str, list[str]]:
    """Script and flags of every row: built in, added, and each of them with verified images."""
    rows = METHODS | FORMER_METHODS | added
    return rows | {
        verified_name(name, count): [*words, "--verified", f"{count}"]
        for name, words in rows.items()
        for count in verified
    }


def verified_name(method: str, count: float) -> str:
    """The row of a method with `count` verified images; its own with 0.

    >>> verified_name("posterior", 1_000_000), verified_name("posterior", 0)
    ('posterior-verified1000000', 'posterior')
    """
    return f"{method}-verified{count}" if count else method


OWN_FLAGS = {"--dataset", "--seed", "--partial_rate", "--noise_file", "--output_dir", "--resume"}
METHOD_FLAGS = {"--recipe", "--loss", "--noise_rate", "--ablate", "--verified"}


class AddedMethod:
    """The kind of --add: NAME="SCRIPT FLAGS", read as (name, [script, *flags])."""

    def parse(self, text: str) -> tuple[str, list[str]]:
        name, _, command = text.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,39}", name) or not command:
            raise argparse.ArgumentTypeError(
                f'expected NAME="SCRIPT FLAGS", the name of letters, digits, - _ . , but got '
                f"{text!r}"
            )
        # Such names could make the folder of another method's run.
        if "-rate" in folded(name) or "-seed" in folded(name):
            raise argparse.ArgumentTypeError(
                f"expected a name without -rate and -seed, but got {name}"
            )
        if folded(name) in map(folded, [*METHODS, *FORMER_METHODS]):
            raise argparse.ArgumentTypeError(f"{name} is a method already: give another name")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{name}: {error} in {command!r}") from None
        scripts = [f"{script}.py" for script in SCRIPTS]
        if not words or words[0] not in scripts:
            raise argparse.ArgumentTypeError(
                f"{name}: expected one of {', '.join(scripts)} first, but got {command!r}"
            )
        if taken := own_flags(words, OWN_FLAGS):
            raise argparse.ArgumentTypeError(f"{name}: {taken} is set for every run, leave it out")
        return name, words

    def holds(self, value: Any) -> bool:
        return isinstance(value, tuple)


def own_flags(words: Sequence[str], own: set[str]) -> str | None:
    """The first in the alphabet of the flags in `words` that are among `own`."""
    return min(own & by_flag(words).keys(), default=None)


def folded(name: str) -> str:
    """Casefold a name: some disks ignore case."""
    return name.casefold()
