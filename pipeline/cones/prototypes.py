"""Step 2: one feature vector a class and batch, and a memory of the newest of them."""

import torch

from utils.tensor_files import copy_stored

MEMORY_BYTES = 2**30  # that all classes' prototypes may take


def batch_prototypes(
    features: torch.Tensor, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the features of each class's screened pixels.

    Args:
        features: (B, D, H, W) float feature map.
        pixels: (B, C, H, W) bool, the pixels of each class.

    Returns:
        prototypes: (C, D) float32; 0 for a class without pixels. No gradient.
        seen: (C,) bool, classes with at least one pixel.

    >>> features = torch.tensor([[[[1.0, 3.0, 8.0]]]])
    >>> batch_prototypes(features, torch.tensor([[[[True, True, False]]], ]))
    (tensor([[2.]]), tensor([True]))
    """
    # One matrix product over all pixels of the batch: (C, BHW) x (BHW, D).
    mask = pixels.transpose(0, 1).flatten(1).float()
    sums = mask @ features.detach().transpose(0, 1).flatten(1).T.float()
    count = mask.sum(dim=1, keepdim=True)
    return sums / count.clamp(min=1), count[:, 0] > 0


def class_order(means: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prototypes and seen classes in the order they are stored in: unchanged.

    Args:
        means: (C, D) prototypes of a batch.
        seen: (C,) bool.
    """
    return means, seen


class PrototypeMemory:
    """The newest `size` prototypes of each class, in a ring buffer on the device.

    What would take more than `MEMORY_BYTES` in float32 is kept in bfloat16, and if that takes more
    too, of fewer prototypes a class. Not in float16: a feature beyond its range, 65504, would be
    infinite, and no k-means comes back from that. What bfloat16 rounds, 0.4% of a value at most, is
    little beside what tells the prototypes of a class from each other.

    Args:
        least: prototypes a class that are kept whatever they take.

    Attributes:
        rows: (C, size, D) float32 or bfloat16; the first min(count, size) rows of a class are in
            use, in no particular order.
        count: (C,) int64, prototypes ever added; a class not seen yet has 0.
    """

    def __init__(
        self, classes: int, dim: int, size: int, device: torch.device | None = None, least: int = 1
    ) -> None:
        fits = MEMORY_BYTES // (classes * dim * 2)  # of two bytes a value
        dtype = torch.float32 if 2 * size <= fits else torch.bfloat16
        kept = max(min(size, fits), least)
        if kept < size:
            print(
                f"prototypes: {kept} instead of {size} a class, since {classes} classes of {dim} "
                f"features fill {MEMORY_BYTES / 2**30:g} GiB",
                flush=True,
            )
        self.rows = torch.zeros(classes, kept, dim, dtype=dtype, device=device)
        self.count = torch.zeros(classes, dtype=torch.long, device=device)
        self._class_ids = torch.arange(classes, device=device)

    def add(self, prototypes: torch.Tensor, seen: torch.Tensor) -> None:
        """Store `prototypes` (C, D) of the classes in `seen` (C,), over the oldest rows.

        Classes that were not seen rewrite the row they already hold: a selection by `seen`
        would have to wait for the device to learn its length.
        """
        slot = self.count % self.rows.shape[1]
        kept = self.rows[self._class_ids, slot]
        self.rows[self._class_ids, slot] = torch.where(
            seen[:, None], prototypes.to(kept.dtype), kept
        )
        self.count += seen

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"rows": self.rows, "count": self.count}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        copy_stored(self.rows, state["rows"])
        copy_stored(self.count, state["count"])
