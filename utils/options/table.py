"""Options as one table: a dataclass whose fields are flags.

A field says all there is to know of an option: its kind and range, its default in general, by
data set and by recipe, its help, since when runs store it, and what may change when a run is
resumed. The parser, --help, the check of a stored run, resuming and the table of
docs/training.md come from it.

Built on argparse. tyro and jsonargparse make parsers of dataclasses too, but have no default that
depends on two other options, do not tell a value given from the same value by default, which
resuming needs, and take 0.15 s more to import.
"""

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from utils.errors import UserError
from utils.options.kinds import ON_OFF, SWITCH, TEXT, Choice, Kind, Switch
from utils.terminal import one_line

T = TypeVar("T")
FLAG = "flag"  # key of a field's metadata
OF_ANY_SCRIPT = ""


class Flag(NamedTuple):
    """All that a field says beside its name, type and general default.

    help: meaning and unit. kind: of its values. group: heading in --help; None is positional or
    without heading. metavar: stands for the value in --help. by_case: defaults of data sets and
    recipes. shown: describes the default where it is no single value; None shows the
    value. many: a list of values, "+" (at least one), "*" or "append". trait: scripts that have
    it, see `Script.traits`. stored: False of what no run keeps. since_value: what runs did before
    there was the option; UNSET for options that all runs have. on_resume: "keep", "change" where a
    resumed run may have another value, "move" of places. reads: what to give, of flags that name a
    file or folder to read. methods: recipes and losses that it is for; empty: all.
    """

    help: str
    kind: Kind
    group: str | None
    metavar: str | None
    by_case: Mapping[str, Any]
    shown: str | None
    many: str | None
    trait: str
    stored: bool
    since_value: Any
    on_resume: str
    reads: str | None
    methods: tuple[str, ...]


UNSET: Any = object()


def option(
    default: Any,
    help: str,
    kind: Kind = TEXT,
    *,
    group: str | None = None,
    metavar: str | None = None,
    by_case: Mapping[str, Any] | None = None,
    shown: str | None = None,
    many: str | None = None,
    trait: str = OF_ANY_SCRIPT,
    stored: bool = True,
    since_value: Any = UNSET,
    on_resume: str = "keep",
    reads: str | None = None,
    methods: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is a flag; see `Flag`."""
    flag = Flag(
        help,
        kind,
        group,
        metavar,
        by_case or {},
        shown,
        many,
        trait,
        stored,
        since_value,
        on_resume,
        reads,
        methods,
    )
    metadata = {FLAG: flag}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def flags_of(options: Any) -> dict[str, tuple[dataclasses.Field, Flag]]:
    """The fields of a dataclass, or of one's instance, that are flags, by name."""
    fields = dataclasses.fields(options)
    return {field.name: (field, field.metadata[FLAG]) for field in fields if FLAG in field.metadata}


def default_of(field: dataclasses.Field) -> Any:
    """The general default."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


class OptionsParser(argparse.ArgumentParser):
    """Flags in full only, and one line, not the usage, for what is wrong with them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        words = " ".join(message.split())
        self.exit(2, one_line(f"error: {words}; {self.prog} --help lists all flags") + "\n")

    def need(self, value: Any, flag: str, expected: str) -> None:
        """Refuse a missing flag; `required` would say so before misspelt ones."""
        if value is None:
            self.error(f"{flag} is needed: {expected}")

    def add_options(
        self,
        table: type,
        traits: frozenset[str] = frozenset(),
        cases: Sequence[str] = (),
        kinds: Mapping[str, Kind] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Add the flags of a table that scripts with these traits have.

        Args:
            table: the dataclass.
            traits: of the script.
            cases: data sets and recipes that it takes, whose own defaults are shown.
            kinds: of options that the script takes fewer values of, by name.
            notes: text below a group's heading.
        """
        groups: dict[str | None, Any] = {None: self}
        for name, (field, flag) in flags_of(table).items():
            if flag.trait and flag.trait not in traits:
                continue
            flag = flag._replace(kind=(kinds or {}).get(name, flag.kind))
            if flag.group not in groups:
                note = (notes or {}).get(str(flag.group))
                groups[flag.group] = self.add_argument_group(flag.group, note)
            shown = describe_default(default_of(field), flag, cases)
            arguments: dict[str, Any] = {"help": f"{flag.help} ({shown})" if shown else flag.help}
            if flag.kind is SWITCH:
                arguments |= {"action": "store_true", "default": None}
            elif flag.kind is ON_OFF:
                arguments["action"] = argparse.BooleanOptionalAction
            else:
                arguments |= {"type": flag.kind.parse, "metavar": metavar_of(name, flag)}
                if flag.many == "append":
                    arguments["action"] = "append"
                elif flag.many:
                    arguments["nargs"] = flag.many
            positional = flag.many == "*"
            groups[flag.group].add_argument(name if positional else f"--{name}", **arguments)

    def given(self, argv: Sequence[str] | None) -> dict[str, Any]:
        """The options that a command line gives, by name."""
        values = vars(self.parse_args(argv))
        return {name: value for name, value in values.items() if value not in (None, [])}


def parse(table: type[T], parser: OptionsParser, argv: Sequence[str] | None = None) -> T:
    """Read a command line into a table all of whose flags the script has."""
    parser.add_options(table)
    return table(**parser.given(argv))


def metavar_of(name: str, flag: Flag) -> str:
    """The text that stands for a flag's value in --help."""
    if flag.metavar is not None:
        return flag.metavar
    if isinstance(flag.kind, Choice):
        return "{" + ",".join(map(str, flag.kind.values)) + "}"
    return name.upper()


def describe_default(default: Any, flag: Flag, cases: Sequence[str] = ()) -> str:
    """Describe a default, e.g. 'default 1; coco 4', with those of `cases` that have their own."""
    if flag.shown is not None:
        return flag.shown
    if default is None:
        parts = ["default: not given"]
    elif isinstance(flag.kind, Switch):
        parts = ["default: off"]
    else:
        values = default if isinstance(default, list) else [default]
        parts = [f"default {' '.join(map(str, values))}"]
    parts += [f"{case} {flag.by_case[case]}" for case in cases if case in flag.by_case]
    return "; ".join(parts)


def check_inputs(options: Any, **instead: str | None) -> None:
    """Refuse what is to be read and is not there, before anything is loaded.

    Args:
        options: a table; those of its flags that name something to read are looked at.
        instead: what to give of a flag, in other words than the table's; None passes it over.

    Raises:
        UserError: one names nothing that exists, or nothing that may be looked at.
    """
    for name, (_, flag) in flags_of(options).items():
        given, expected = getattr(options, name), instead.get(name, flag.reads)
        if given is None or expected is None or (name == "weights" and given in NO_FILES):
            continue
        for place in given if isinstance(given, list) else [given]:
            check_input(name, place, expected)


def check_input(name: str, place: str, expected: str) -> None:
    """Refuse one place that a flag names, as `check_inputs` does."""
    try:
        os.stat(place)
    except PermissionError:
        raise UserError(
            f"--{name} {place} lies in a folder that you may not read: give {expected}"
        ) from None
    except (OSError, ValueError):  # or a name that no file can have
        raise UserError(f"--{name} {place} does not exist: give {expected}") from None


NO_FILES = ("imagenet", "none")  # of --weights
