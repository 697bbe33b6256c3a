"""Text as terminals can take it, whatever the names in it: files and labels may hold anything."""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

LONGEST = 300  # characters of a message
# Of C0 and C1, which move the cursor or worse; ends of lines; and what reverses the text around it.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
IN_LINES = re.compile(CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b\x0c\x0e-\x1f"))


def escape(text: str, which: re.Pattern[str] = CONTROL) -> str:
    r"""Write control characters as escapes.

    >>> escape("a\nb")
    'a\\nb'
    """
    return which.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(message: str, longest: int = LONGEST) -> str:
    """A message or name on one line of at most `longest` characters: its beginning and its end."""
    line, end = escape(message), longest // 3
    return line if len(line) <= longest else f"{line[: longest - end]} ... {line[5 - end :]}"


def warn(message: str) -> None:
    """Print a warning to stderr."""
    print(one_line(f"warning: {message}"), file=sys.stderr)


class Terminal:
    """A stream that escapes control characters, but ends of lines and tabs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        if hasattr(stream, "reconfigure"):  # names that its encoding lacks
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        return self.stream.write(escape(text, IN_LINES))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let what is printed to stdout and stderr pass through a `Terminal`."""
    sys.stdout, sys.stderr = Terminal(sys.stdout), Terminal(sys.stderr)  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, Terminal):  # and none put in its place meanwhile
                setattr(sys, name, stream.stream)
