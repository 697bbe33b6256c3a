"""The rooms of the code: who may import whom."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The rows of CONTRIBUTING.md's map; a room imports from itself and from those before it.
ROOMS = [
    "utils",
    "utils.options",
    "utils.comparison",
    "pipeline.data",
    "pipeline.model",
    "pipeline.cones",
    "pipeline.posterior",
    "pipeline.baselines",
    "pipeline.methods",
    "pipeline.inference pipeline.features pipeline.evaluation pipeline.prediction pipeline.export",
    "pipeline.optimisation pipeline.engine pipeline.amp pipeline.experiment",
    "pipeline.review",
]
TRAINING = {f"pipeline.{name}" for name in "engine experiment methods optimisation amp".split()}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {
    module_name(path): path
    for folder in ("pipeline", "utils")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "__init__.py"
}


@functools.cache
def imports(path):
    """The modules of the project that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found & MODULES.keys()


def room_of(module):
    fits = [
        (len(prefix), number)
        for number, room in enumerate(ROOMS)
        for prefix in room.split()
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(fits)[1]


def reachable(path):
    """Every module that a file imports, or that these import."""
    found, todo = set(), [path]
    while todo:
        for module in imports(todo.pop()) - found:
            found.add(module)
            todo.append(MODULES[module])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_later_room(module):
    later = {other for other in imports(MODULES[module]) if room_of(other) > room_of(module)}
    assert not later


def test_no_modules_import_each_other():
    assert not [module for module, path in MODULES.items() if module in reachable(path)]


@pytest.mark.parametrize("script", ["val", "predict", "make_candidates", "check_data"])
def test_what_trains_nothing_imports_nothing_of_training(script):
    assert not reachable(ROOT / f"{script}.py") & TRAINING


def test_a_review_trains_for_folds_and_a_new_round_alone():
    modules = imports(ROOT / "review.py") - {"pipeline.review.folds", "pipeline.experiment"}
    assert not set().union(*(reachable(MODULES[module]) for module in modules)) & TRAINING
