import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError, exit_status
from utils.terminal import LONGEST, Terminal, one_line


@given(st.text(max_size=1000))
def test_a_message_is_one_line_without_control_characters(text):
    line = one_line(text)
    assert len(line) <= LONGEST
    assert line.splitlines() in ([], [line])
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in line)
    if text.isprintable() and len(text) <= LONGEST:
        assert line == text


def test_a_long_message_keeps_its_beginning_and_its_remedy():
    line = one_line("error: " + "x" * 500 + "; give another")
    assert line.startswith("error: xxx")
    assert line.endswith("xxx; give another")


def test_what_a_script_prints_is_escaped_and_the_streams_come_back(capsys):
    before = sys.stdout, sys.stderr

    def main():
        print("a class \x1b[31m\x9b of\tred\nnext", flush=True)
        print("\x07", file=sys.stderr)
        raise UserError("\x1b" * 200)

    assert exit_status(main)() == 1
    out, err = capsys.readouterr()
    assert out == "a class \\x1b[31m\\x9b of\tred\nnext\n"
    bell, message = err.splitlines()
    assert bell == "\\x07"
    assert len(message) == LONGEST
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("name", ["\u732b", "caf\udce9"])
def test_a_name_that_the_terminal_has_no_letters_for_is_no_error(name):
    content = io.BytesIO()
    stream = Terminal(io.TextIOWrapper(content, "latin-1"))
    stream.write(name)
    stream.flush()
    assert content.getvalue().endswith(name[-1].encode("ascii", "backslashreplace"))
