"""State that CoNeS and `posterior` keep of 2 million images of 10,000 classes, 20 candidates each.

Run: python -m benchmarks.state

Bytes against tables of all labels, float32, which are counted and not made; the update of a batch
against the same on a dense table, of fewer images. One thread: a busy machine keeps several waiting
for each other. It takes about 5 GiB of memory and some minutes.
"""

import functools
import time
from collections.abc import Callable

import torch

from benchmarks.timing import alternate, ratio
from pipeline.cones.confidence import disambiguate
from pipeline.cones.method import CoNeS
from pipeline.data.rows import CandidateRows
from pipeline.methods import cones_settings
from pipeline.model.classifier import Output
from pipeline.posterior.method import Posterior
from utils.options.command_line import resolve

IMAGES, CLASSES, CANDIDATES, DIM, BATCH = 2_000_000, 10_000, 20, 2048, 1024
DENSE_IMAGES = 20_000  # of the dense table: 0.75 GiB
GIB = 2**30


def draw_rows() -> CandidateRows:
    """One candidate from each of 20 ranges of classes, the first ones of a range more often."""
    generator = torch.Generator().manual_seed(0)
    width = CLASSES // CANDIDATES
    columns = torch.empty(IMAGES, CANDIDATES, dtype=torch.int32)
    for j in range(CANDIDATES):
        columns[:, j] = torch.rand(IMAGES, generator=generator).square_().mul_(width).int()
        columns[:, j] += j * width
    return CandidateRows(torch.arange(IMAGES + 1) * CANDIDATES, columns.flatten(), CLASSES)


def timed(function: Callable[[], object], name: str) -> object:
    started = time.perf_counter()
    result = function()
    print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    return result


def report(name: str, parts: dict[str, int], dense_tables: int, rest: int) -> None:
    """Print the bytes of `parts`; tables of all labels would take the place of all but `rest`."""
    total, dense = sum(parts.values()), dense_tables * 4 * IMAGES * CLASSES + rest
    print(f"{name}: {total / GIB:.2f} GiB; as tables of all labels {dense / GIB:.0f} GiB, ", end="")
    print(f"{dense / total:.0f} times as much")
    ratio(f"state of {name}", "tables of all labels", dense / total, better="small")
    for part, size in parts.items():
        print(f"  {part:12} {size / GIB:6.2f} GiB")


def draw_batch(rows: CandidateRows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random images: their index, candidates and logits."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(IMAGES, (BATCH,), generator=generator)
    return index, rows.dense(index), torch.randn(BATCH, CLASSES, generator=generator)


def measure_cones(rows: CandidateRows) -> None:
    paper = cones_settings(resolve("main_CoNeS", {"dataset": "digits", "recipe": "paper"}))
    cones: CoNeS = timed(lambda: CoNeS(rows, DIM, **paper), "CoNeS made")  # type: ignore[assignment]
    table, memory = cones.confidence, cones.memory.rows
    whole_memory = 4 * CLASSES * 256 * DIM
    parts = {
        "candidates": rows.start.nbytes + rows.columns.nbytes,
        "confidence": table.values.nbytes,
        "correlation": cones.correlation.nbytes,
        "prototypes": memory.nbytes + cones.memory.count.nbytes,
    }
    # The candidates were kept for the loader alone, and count nothing in the dense layout.
    report("CoNeS", parts, 1, cones.correlation.nbytes + whole_memory)

    index, candidates, logits = draw_batch(rows)
    probabilities = logits.sigmoid()
    disambiguated = disambiguate(probabilities, cones.correlation, candidates)
    dense_table = torch.full((DENSE_IMAGES, CLASSES), 1 / CANDIDATES)
    dense_index = index % DENSE_IMAGES

    def update() -> None:
        table.update(rows.batch(index), disambiguated)

    def update_dense() -> None:
        mixed = table.mu * dense_table[dense_index] + (1 - table.mu) * disambiguated
        dense_table[dense_index] = mixed

    seconds, dense_seconds = alternate(update, update_dense, repeats=9)
    (disambiguation,) = alternate(
        lambda: disambiguate(probabilities, cones.correlation, candidates), repeats=3
    )
    print(f"confidence of {BATCH} images updated, shortest of 9:")
    print(f"  rows of candidates           {1000 * seconds:7.1f} ms")
    print(
        f"  table of {DENSE_IMAGES} x {CLASSES}      {1000 * dense_seconds:7.1f} ms, "
        f"{dense_seconds / seconds:.0f} times as long"
    )
    print(f"  (disambiguate, before it     {1000 * disambiguation:7.1f} ms)")
    ratio("update of 1,024 images' confidence", "on a dense table", dense_seconds / seconds)


def measure_posterior(rows: CandidateRows) -> None:
    method: Posterior = timed(lambda: Posterior(rows), "posterior made")  # type: ignore[assignment]
    parts = {
        "candidates": rows.start.nbytes + rows.columns.nbytes,
        "context_prior": method.context_prior.nbytes,
        "logits": method.logits.nbytes,
    }
    report("posterior", parts, 2, IMAGES * CLASSES)  # it kept the candidates, a byte a label
    index, candidates, logits = draw_batch(rows)
    output = Output(logits, torch.empty(0), torch.empty(0))
    (step,) = alternate(functools.partial(method.loss, output, candidates, index), repeats=5)
    print(f"loss of {BATCH} images {1000 * step:.0f} ms")
    timed(lambda: method.begin_epoch(2), "start of an epoch")


def main() -> None:
    torch.set_num_threads(1)
    print(f"{IMAGES:,} images x {CLASSES:,} classes, {CANDIDATES} candidates an image")
    rows = draw_rows()
    measure_cones(rows)
    measure_posterior(rows)


if __name__ == "__main__":
    main()
