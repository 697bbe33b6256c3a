"""The sign that joins the labels of a cell, told from all cells of a list.

A list that joins by | anywhere joins by nothing else. Where there is no |, another sign is taken
for a separator only where it is certain, and for a part of names only where that is certain. All
else is for --separator. Of the distinct cells with the sign, joined are those that it parts; a part
recurs if it is also a cell of its own, or a part of another joined cell.

- Comma and semicolon, the Chinese ones too, and tab separate where three cells or more are joined,
  half of the parts recur, and parting leaves at most three quarters as many distinct names. They
  belong to names where a tenth of the parts recur at most, and the joined cells stand in ten rows,
  each in two on average.
- A space (a slash, + or &) separates where besides a cell has three parts, and nine tenths of the
  parts are cells of their own and at most half as many names are left, or nine tenths recur and a
  quarter are left. It belongs to names where fewer than half of the parts recur, and the joined
  cells stand in as many rows as above; and / + & also where only a few cells have it.
- Python and numpy lists of quoted texts are read where every cell is one.
- Where --classes names the classes, that separates which leaves classes alone.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Literal

from utils.errors import UserError

PIPE, LIST = "|", "list"
WORDS = {
    "pipe": PIPE,
    "comma": ",",
    "semicolon": ";",
    "space": " ",
    "tab": "\t",
    "newline": "\n",
    LIST: LIST,
}
STRONG, RARE, WEAK = (",", ";", "\t", "，", "；", "、"), ("/", "+", "&"), (" ",)
ODD = ("\n", "<br>", "#", ":", "_", "-")
Verdict = Literal["separator", "name", "doubt"]
TOKEN = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*,?""", re.S)
DTYPE = re.compile(r",\s*dtype=[^\])}]+")
WRAPPED = re.compile(r"[\[({](.*)[\])}]", re.S)


def split(cell: str, separator: str) -> list[str]:
    """The labels of a cell, spaces round them included; a lone | says that there is none.

    Raises:
        ValueError: it is no list, and the separator says so.
    """
    if cell.strip() in ("", PIPE):
        return []
    if separator != LIST:
        return cell.split(separator)
    found = parse_list(cell)
    if found is None:
        raise ValueError("no list of quoted texts")
    return found


def parse_list(cell: str) -> list[str] | None:
    """The texts of a list as Python or numpy print it; None where `cell` is none.

    >>> parse_list("['sea', 'sand']"), parse_list("['sea' 'sand']"), parse_list("sea")
    (['sea', 'sand'], ['sea', 'sand'], None)
    """
    text = cell.strip()
    if text.startswith("array(") and text.endswith(")"):
        inner, comma, dtype = text[len("array(") : -1].rpartition(",")
        text = inner if DTYPE.fullmatch(comma + dtype) else text[len("array(") : -1]
    wrapped = WRAPPED.fullmatch(text)
    if wrapped is None:
        return None
    found, inside, place = [], wrapped[1].rstrip(), 0
    while place < len(inside):
        token = TOKEN.match(inside, place)
        if token is None:
            return None
        try:
            found.append(str(json.loads(token[1])))  # it joins the halves of a surrogate pair
        except ValueError:
            try:
                found.append(str(ast.literal_eval(token[1])))
            except (ValueError, SyntaxError):
                return None
        place = token.end()
    return found


def is_bracketed(cell: str) -> bool:
    """Tell whether a cell looks like a list or object, which no sign in it parts into labels."""
    text = cell.strip()
    return text[:1] + text[-1:] in ("[]", "{}") and bool(
        re.search(r"[,\s'\"]", text) or text in ("[]", "{}")
    )


def find_separator(
    path: str, cells: Counter[str], piped: bool = False, known: Collection[str] = ()
) -> str:
    """The sign that joins labels.

    Args:
        path: of the list, for messages.
        cells: how often each cell of labels occurs, those with | parted at it.
        piped: there were such.
        known: names that labels may have; none where that is not known.

    Raises:
        UserError: it is not certain.
    """
    texts = Counter({cell: n for cell, n in cells.items() if cell.strip() not in ("", PIPE)})
    lists = [cell for cell in texts if parse_list(cell) is not None]
    if lists and len(lists) == len(texts):
        return LIST
    if known and not piped:
        return known_separator(texts, known)
    bracketed = lists if piped else [cell for cell in texts if is_bracketed(cell)]
    if bracketed:
        raise UserError(
            f"{path}: expected labels joined by |, or every cell a list of quoted texts, but found "
            f"{bracketed[0][:60]!r}: write all in one of these ways"
        )
    if piped:
        for sign in (*STRONG, *WEAK):
            if not known and judge(texts, sign) == "separator":
                first = next(cell for cell in texts if sign in cell)
                raise UserError(
                    f"{path}: expected labels joined by | alone, since some are, but found "
                    f"{first[:60]!r}: write {name_of(sign)} between labels as |, and no | in names"
                )
        return PIPE
    found = PIPE
    for sign in (*STRONG, *RARE, *WEAK, *ODD):
        if found != PIPE and sign not in STRONG:
            break
        verdict = judge(texts, sign)
        if verdict == "separator" and found == PIPE:
            found, texts = sign, count_parts(texts, sign)
        elif verdict != "name":
            raise doubtful(path, texts, sign, found)
    return found


def known_separator(cells: Counter[str], known: Collection[str]) -> str:
    """The sign whose parts are all known; | where none is."""
    for sign in (PIPE, *STRONG, *RARE, *WEAK, *ODD):
        if all(part in known for cell in cells for part in parts_of(cell, sign)):
            return sign
    return PIPE


def judge(cells: Counter[str], sign: str) -> Verdict:
    """Tell what a sign in the distinct `cells` is: a separator or a part of names, if certain."""
    joined = {cell: parts_of(cell, sign) for cell in cells if sign in cell}
    if not joined:
        return "name"
    alone = cells.keys() - joined.keys()
    parts = Counter(part for found in joined.values() for part in set(found))
    recurring = sum(part in alone or count > 1 for part, count in parts.items())
    share = recurring / max(len(parts), 1)
    left = len(alone | parts.keys()) / len(cells)
    rows = sum(cells[cell] for cell in joined)
    seen_whole = rows >= max(10, 2 * len(joined))
    if sign in STRONG:
        if len(joined) >= 3 and share >= 0.5 and left <= 0.75:
            return "separator"
        return "name" if share <= 0.1 and seen_whole else "doubt"
    if len(joined) >= 3 and max(map(len, joined.values())) >= 3:
        by_themselves = sum(part in alone for part in parts) / len(parts)
        if (by_themselves >= 0.9 and left <= 0.5) or (share >= 0.9 and left <= 0.25):
            return "separator"
    few = sign not in WEAK and len(joined) < 3
    if sign in ODD:
        return "name" if few or share < 0.9 else "doubt"
    return "name" if few or (share < 0.5 and seen_whole) else "doubt"


def parts_of(cell: str, sign: str) -> list[str]:
    return [part for part in map(str.strip, split(cell, sign)) if part]


def count_parts(cells: Counter[str], sign: str) -> Counter[str]:
    """Count each part of the cells."""
    parts: Counter[str] = Counter()
    for cell, count in cells.items():
        for part in parts_of(cell, sign):
            parts[part] += count
    return parts


def name_of(sign: str) -> str:
    """The word or sign to give to --separator."""
    return next((word for word, meant in WORDS.items() if meant == sign), sign)


def doubtful(path: str, cells: Counter[str], sign: str, found: str) -> UserError:
    """Ask whether a sign joins labels, where `found` is what else does; | if nothing else."""
    first = next(cell for cell in cells if sign in cell)
    what = "which may be one label or several"
    if found != PIPE:
        what = f"beside others that {name_of(found)} joins"
    else:
        others = (other for other in STRONG if judge(cells, other) == "separator")
        found = next(others, PIPE)
    return UserError(
        f"{path}: expected labels joined by |, but found {first[:60]!r}, {what}: give --separator "
        f"{name_of(sign)} if that joins labels, or --separator {name_of(found)} if it belongs to "
        "their names"
    )
