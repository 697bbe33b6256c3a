"""Kinds of values that options take: what a flag's text becomes, and what a stored run may hold.

Nothing here imports torch, so that --help answers at once.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """A kind of value."""

    def parse(self, text: str) -> Any:
        """Read the value of a flag; argparse.ArgumentTypeError says what was expected."""

    def holds(self, value: Any) -> bool:
        """Tell whether a value, as JSON gives it, is of this kind."""


@dataclass(frozen=True)
class Number:
    """A finite number of `type` in [low, high], or (low, high] if `open_low`."""

    type: type[int] | type[float]
    low: float
    high: float
    open_low: bool = False

    def parse(self, text: str) -> Any:
        """Read a number; of alternatives, as the authors write '224/448', the first."""
        noun = "a whole number" if self.type is int else "a number"
        first, *others = text.split("/")
        try:
            value = self.type(first)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {noun}, but got {text!r}") from None
        if not self._in_range(value):
            left = f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
            right = "" if self.high > 1e9 else f" and at most {self.high:g}"
            raise argparse.ArgumentTypeError(f"expected {noun} {left}{right}, but got {text}")
        if others:
            print(f"{text} lists alternatives: taking the first, {first}", file=sys.stderr)
        return value

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return self._in_range(value) and not (self.type is int and isinstance(value, float))

    def _in_range(self, value: float) -> bool:
        above = self.low < value if self.open_low else self.low <= value
        return above and value <= self.high


class CountOrShare:
    """A number of some images: a whole number of them, or a share above 0 and below 1."""

    def parse(self, text: str) -> int | float:
        try:
            value = float(text) if "." in text or "e" in text.lower() else int(text)
        except ValueError:
            value = -1
        if not self.holds(value):
            raise argparse.ArgumentTypeError(
                f"expected a number of images, or a share of them below 1, but got {text!r}"
            )
        return value

    def holds(self, value: Any) -> bool:
        if isinstance(value, float):
            return 0 < value < 1
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(frozen=True)
class Choice:
    """One of some values, whose text names them."""

    values: tuple[Any, ...]

    def parse(self, text: str) -> Any:
        found = {str(value): value for value in self.values}
        if text not in found:
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(found)}, but got {text!r}"
            )
        return found[text]

    def holds(self, value: Any) -> bool:
        return not isinstance(value, bool) and value in self.values


@dataclass(frozen=True)
class Names:
    """Names; older names of some are still read."""

    former: Mapping[str, str]

    def parse(self, text: str) -> str:
        return self.former.get(text, text)

    def holds(self, value: Any) -> bool:
        return isinstance(value, str)


class ColumnOf:
    """The content of a column of a list, and its name: such as path=photo."""

    HELD = ("path", "labels", "split", "true_labels", "verified")

    def parse(self, text: str) -> str:
        if not self.holds(text):
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(self.HELD)}, = and a column, but got {text!r}"
            )
        return text

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        what, _, name = value.partition("=")
        return what in self.HELD and bool(name.strip())


class Text:
    """Any text that a command line can hold: none has a NUL, which no path may have either."""

    def parse(self, text: str) -> str:
        return text

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value


class Switch:
    """A flag without a value, true where it is given."""

    def parse(self, text: str) -> bool:
        raise argparse.ArgumentTypeError(f"expected no value, but got {text!r}")

    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)


class OnOff(Switch):
    """A flag that is true where given, and false with no- before its name."""


TEXT, SWITCH, ON_OFF, COLUMN = Text(), Switch(), OnOff(), ColumnOf()
COUNT = Number(int, 1, 2**63 - 1)
NATURAL = Number(int, 0, 2**63 - 1)
POSITIVE = Number(float, 0, 1e9, open_low=True)
NOT_NEGATIVE = Number(float, 0, 1e9)
SHARE = Number(float, 0, 1)
RATE = Number(float, 0, 0.99)
SIDE = Number(int, 16, 2**14)  # of an image, in pixels
