"""Step 5: the negative suppression disambiguation loss with its closed-form weights."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def select_pseudo_labels(confidence: Tensor, candidates: Tensor) -> Tensor:
    """Take as true the candidates whose confidence is above uniform, 1 / |S_i|.

    A lone candidate is true by definition, although its confidence, 1, is the uniform one.

    Args:
        confidence: (B, C) float >= 0, 0 outside the candidates; or (B, L) of these alone.
        candidates: of the same shape, in {0, 1}.

    Returns:
        float in {0, 1} of this shape, 0 outside the candidates.

    >>> select_pseudo_labels(torch.tensor([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0]]),
    ...                      torch.tensor([[1, 1, 0], [0, 1, 0]]))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    size = candidates.sum(dim=1, keepdim=True)
    chosen = (confidence * size > 1) | (size == 1)
    return chosen.float() * candidates.float()


def log_negative_loss(logits: Tensor) -> Tensor:
    """log l, where l = -log(1 - p) is each label's own loss as a negative; finite throughout.

    softplus(x) = l is e^x for very negative x, and underflows there while log l = x does not.
    """
    return torch.where(logits < -15, logits, F.softplus(logits.clamp(min=-15)).log())


def suppression_weights(logits: Tensor, candidates: Tensor, r: float) -> Tensor:
    """Weigh candidates by 1 and non-candidates by the closed-form phi.

    phi_c = (1/n) * l_c ** (-1/(r-1)) / sum_j l_j ** (-1/(r-1)) over an image's n
    non-candidates minimises sum phi^r l subject to sum phi = 1/n. It is computed as a softmax
    of -log(l) / (r - 1), which neither overflows nor underflows.

    Args:
        logits: (B, C) float, scores before the sigmoid.
        candidates: (B, C) in {0, 1}.
        r: exponent > 1. Large r splits evenly; r near 1 gives all the weight to the easiest
            non-candidate.

    Returns:
        (B, C) float32 >= 0, without gradient. Rows in which every label is a candidate are 1.
    """
    if r <= 1:
        raise ValueError(f"Expected r > 1, but got {r}")
    is_candidate = candidates > 0
    score = -log_negative_loss(logits.detach().float()) / (r - 1)
    share = score.masked_fill(is_candidate, -torch.inf).softmax(dim=1)
    n = (~is_candidate).sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(is_candidate, 1.0, share / n)


def negative_suppression_loss(
    logits: Tensor,
    candidates: Tensor,
    pseudo_labels: Tensor,
    r: float,
    weights: Callable[[Tensor, Tensor, float], Tensor] = suppression_weights,
) -> Tensor:
    """Mean BCE in which non-candidate labels are damped in closed form.

    Candidates weigh 1. An image's n non-candidates share a total weight of 1/n, see
    `suppression_weights`. Neither weights nor pseudo-labels carry a gradient.

    Args:
        logits: (B, C) float, scores before the sigmoid.
        candidates: (B, C) in {0, 1}.
        pseudo_labels: (B, C) float in {0, 1}; 0 outside `candidates`.
        r: exponent > 1.
        weights: the weighting, called as weights(logits, candidates, r).

    Returns:
        Scalar >= 0, in nats. Rows in which every label is a candidate are valid.

    Raises:
        ValueError: shapes differ, r <= 1, or a pseudo-label lies outside the candidates. The
            last is looked at on the CPU only: elsewhere it would wait for the device.

    Source: Zhong et al. 2025, doi:10.1109/TCSVT.2025.3629753.

    >>> y = torch.tensor([[1., 0., 0.]])
    >>> negative_suppression_loss(torch.zeros(1, 3), y, y, r=2.0)
    tensor(0.3466)
    """
    if not logits.shape == candidates.shape == pseudo_labels.shape:
        raise ValueError(
            f"Expected logits, candidates and pseudo_labels of one shape (B, C), but got "
            f"{tuple(logits.shape)}, {tuple(candidates.shape)}, {tuple(pseudo_labels.shape)}"
        )
    if logits.device.type == "cpu" and (pseudo_labels > candidates).any():
        raise ValueError("Expected pseudo_labels within candidates, but got one outside")
    omega = weights(logits, candidates, r)
    return F.binary_cross_entropy_with_logits(logits.float(), pseudo_labels.detach(), omega)
