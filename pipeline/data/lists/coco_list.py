"""A COCO annotation file as a list."""

import contextlib
import reprlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import coco
from pipeline.data.lists.names import clean_names, is_line, one_form
from pipeline.data.lists.reading import Listing, Reading, Understood
from pipeline.data.lists.table import YES_OR_NO, Row
from utils.errors import UserError


def coco_list(path: Path, reading: Reading) -> Listing:
    """Read a COCO annotation file; images without annotation have no label.

    Raises:
        UserError: it is none, or two of its categories have one name.
    """
    if reading.columns or reading.separator:
        raise UserError(f"--columns and --separator are for tables: leave them out with {path}")
    content = coco.read_instances(path, every_image=True)
    names = [one_form(name) for name in content.classes]
    wrong = next((n for n, count in Counter(names).items() if count > 1 or not is_line(n)), None)
    if wrong is not None:
        raise UserError(
            f"{path} must give every category a name of its own, but has {wrong[:80]!r}"
        )
    by_id = dict(zip(content.category_ids, names))
    silent = sum(is_verified(each) and each.get("candidates") is None for each in content.images)
    note = (
        f"{silent} verified images without candidates, whose annotations count as these: they "
        "tell nothing of the noise"
    )

    def rows() -> Iterator[Row]:
        for listed, file_name, targets in zip(content.images, content.file_names, content.targets):
            image = {key: value for key, value in listed.items() if value is not None}
            where = f"{path}, image {coco.shown_id(coco.identity(image['id']))}"
            true = clean_names((names[c] for c in np.flatnonzero(targets)), reading.rename)
            row = Row(where, file_name, true, str(image.get("split", "")))
            if "candidates" in image:
                found = image["candidates"]
                ids = list(map(id_text, found)) if isinstance(found, list) else [""]
                if not by_id.keys() >= set(ids):
                    raise UserError(
                        f"{where}: expected candidates to be a list of ids of categories, but "
                        f"found {reprlib.repr(found)}"
                    )
                row = row._replace(labels=clean_names((by_id[i] for i in ids), reading.rename))
            if "candidates" in image or is_verified(image):
                row = row._replace(true_labels=true)
            yield row._replace(verified=str(image.get("verified", "")))

    classes = list(dict.fromkeys(clean_names(names, reading.rename)))
    return Listing(Understood("COCO annotations", notes=(note,) if silent else ()), rows, classes)


def is_verified(image: dict[str, Any]) -> bool:
    return YES_OR_NO.get(str(image.get("verified")).strip().lower(), False)


def id_text(value: Any) -> str:
    """`coco.identity`, or the empty text, which no category has."""
    with contextlib.suppress(ValueError):
        return coco.identity(value)
    return ""
