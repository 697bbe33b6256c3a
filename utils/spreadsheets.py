"""CSV that people open in a spreadsheet, which runs a cell that begins like a formula.

A name of a photo or class may be one, and formulas can start programs and send what is in a sheet.
Cells are written so that none begins like one. Where our own reader, or a script, takes the cell
again, it says the same as before.

Source: OWASP, CSV injection, https://owasp.org/www-community/attacks/CSV_Injection
"""

from collections.abc import Iterable

FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def as_text(cell: str) -> str:
    """`cell` after an apostrophe where it is like a formula, for people alone.

    >>> as_text("=1+1"), as_text("sea")
    ("'=1+1", 'sea')
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def path_cell(path: str) -> str:
    """The same file's path, which begins with its folder where its name is like a formula.

    >>> path_cell("-1.jpg"), path_cell("a/-1.jpg")
    ('./-1.jpg', 'a/-1.jpg')
    """
    return f"./{path}" if path.startswith(FORMULA) else path


def joined_cell(parts: Iterable[str], labels: Iterable[str]) -> str:
    """Parts joined by |, after an empty one where the first of the labels is like a formula.

    Args:
        parts: the labels, or what belongs to each of them.
        labels: names.

    >>> joined_cell(["=sea", "sand"], ["=sea", "sand"]), joined_cell(["0.9"], ["=sea"])
    ('|=sea|sand', '|0.9')
    """
    first = next(iter(labels), "")
    return "|".join(["", *parts] if first.startswith(FORMULA) else parts)
