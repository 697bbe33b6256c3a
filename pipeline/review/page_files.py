"""The page of a review and its class maps, from what was found."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.images import ImageFiles
from pipeline.review.apply import with_list
from pipeline.review.candidate_posterior import likely_labels
from pipeline.review.decisions import Carried
from pipeline.review.page import CHUNK, Page, write_maps, write_page
from pipeline.review.reviewed_run import Photos, ReviewedRun
from pipeline.review.scan import Scan
from pipeline.review.summary import class_correlation, read_history


def write_page_files(
    folder: Path,
    run: ReviewedRun,
    scan: Scan,
    photos: Photos,
    carried: Carried,
    of_others: np.ndarray,
    **fields: Any,
) -> Path:
    """Write the class maps and the page, review.html; returns its path.

    Args:
        folder: to write to.
        run: that is reviewed.
        scan: of the photos.
        photos: P of the run's.
        carried: what people decided on them.
        of_others: (P, C) float in [0, 1], how likely labels that are no candidates are true.
        fields: the rest of `Page`.
    """
    entries, images = scan.entries, len(photos.data)
    for chunk, first in enumerate(range(0, images, CHUNK)):
        ends = entries.starts[[first, min(first + CHUNK, images)]]
        write_maps(folder, chunk, scan.maps[slice(*ends)])
    known = carried.verified.copy()
    if photos.trained and run.verified is not None:
        known[run.verified.rows] = True
    likely, probability = likely_labels(of_others, photos.found, known)
    kept = entries.matrix(fields["kept"], photos.found.shape)
    content = with_list(run, photos, carried)
    page = Page(
        title=str(run.path),
        key=run.key,
        classes=photos.data.classes,
        paths=photos.data.ids,
        starts=entries.starts,
        columns=entries.columns,
        history=read_history(run.path),
        correlation=class_correlation(run.path, kept),
        hashes=carried.hashes,
        files=files_from(folder, photos),
        test=np.arange(images) >= photos.trained,
        likely=likely,
        likely_probability=probability,
        decisions=content if content["verified"] or content["decisions"] else {},
        **fields,
    )
    return write_page(folder, page)


def files_from(folder: Path, photos: Photos) -> list[str]:
    """Paths of photos from `folder`; none where they are no files."""
    images = photos.data.images
    if not isinstance(images, ImageFiles):
        return []
    return [os.path.relpath(images.path(row), folder) for row in range(len(images))]
