"""Recipe `released`: what the authors' released code computes where it departs from the paper.

Kept apart so that published numbers can be chased and each difference measured. Each function
replaces the step of the same name; `STEPS` joins them. Two further differences are options of
training, not steps: average pooling instead of CSRA, and no higher learning rate for the head.
"""

import torch

from pipeline.cones import prototypes
from pipeline.cones.loss import log_negative_loss
from pipeline.cones.method import Steps


def screen_pixels(cams: torch.Tensor, candidates: torch.Tensor, tau: float) -> torch.Tensor:
    """Screen over all images of the batch, whether or not the class is a candidate of theirs.

    Arguments and result as in `screening.screen_pixels`.
    """
    activation = cams.detach().relu()
    return activation > tau * activation.amax(dim=(0, 2, 3), keepdim=True)


def batch_prototypes(
    features: torch.Tensor, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide the sum over screened pixels by all pixels of the batch, B H W.

    Arguments and result as in `prototypes.batch_prototypes`.
    """
    means, seen = prototypes.batch_prototypes(features, pixels)
    return means * pixels.float().mean(dim=(0, 2, 3))[:, None], seen


def class_order(means: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Store the prototypes of the classes seen in reverse: that of the first under the last.

    Arguments and result as in `prototypes.class_order`; rows of unseen classes mean nothing.
    """
    seen_first = (~seen).int().argsort(stable=True)
    place = seen.cumsum(0) - 1  # of a seen class among these
    return means[seen_first[seen.sum() - 1 - place]], seen


def scale(matrix: torch.Tensor) -> torch.Tensor:
    """Divide each column j, not each row, by the off-diagonal sum of row j; diagonal 1.

    Arguments as in `correlation.scale_rows`; the rows of the result do not sum to 1.
    """
    identity = torch.eye(len(matrix), device=matrix.device)
    others = matrix.clamp(min=0) * (1 - identity)
    return others / others.sum(dim=1).clamp(min=1e-12) + identity


def update_correlation(
    old: torch.Tensor, directions: torch.Tensor, ready: torch.Tensor, gamma: float
) -> torch.Tensor:
    """Mix as the paper does, then scale the whole matrix by `scale`.

    Arguments as in `correlation.update_correlation`. Classes that are not ready are mixed
    with their old values and so change by the scaling alone.
    """
    both = ready[:, None] & ready[None, :]
    similarity = torch.where(both, directions @ directions.T, old)
    return scale(gamma * old + (1 - gamma) * similarity)


def select_pseudo_labels(confidence: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Select strictly above uniform, so that a lone candidate counts as false.

    Arguments and result as in `loss.select_pseudo_labels`.
    """
    size = candidates.sum(dim=1, keepdim=True)
    return ((confidence * size > 1) & (size > 1)).float() * candidates.float()


def suppression_weights(logits: torch.Tensor, candidates: torch.Tensor, r: float) -> torch.Tensor:
    """phi with the denominator (sum_j 1/(r l_j)) ** (1/(r-1)): normalised only at r = 2.

    With numerator (1/(r l_c)) ** (1/(r-1)), phi is the softmax of -log l to the power
    1/(r-1), over n. Arguments and result as in `loss.suppression_weights`.
    """
    is_candidate = candidates > 0
    score = -log_negative_loss(logits.detach().float())
    log_share = score.masked_fill(is_candidate, -torch.inf).log_softmax(dim=1) / (r - 1)
    n = (~is_candidate).sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(is_candidate, 1.0, log_share.exp() / n)


STEPS = Steps(
    screen_pixels=screen_pixels,
    batch_prototypes=batch_prototypes,
    class_order=class_order,
    scale=scale,
    update_correlation=update_correlation,
    select_pseudo_labels=select_pseudo_labels,
    weights=suppression_weights,
)
