"""Step 1: which pixels of a batch give evidence of which class."""

import torch


def screen_pixels(cams: torch.Tensor, candidates: torch.Tensor, tau: float) -> torch.Tensor:
    """Keep the pixels that respond strongly to a class among the images that may show it.

    Pixel (b, y, x) belongs to class c if c is a candidate of image b and its activation
    exceeds tau times the strongest activation of c over all such images of the batch. An
    image that hardly responds to its, perhaps false, candidate so gives few pixels or none.

    Args:
        cams: (B, C, H, W) float class activation maps; negative values count as 0.
        candidates: (B, C) in {0, 1}.
        tau: share of the class's largest activation, in [0, 1).

    Returns:
        (B, C, H, W) bool. Nothing is kept of a class without candidate or without a positive
        activation. Carries no gradient.

    Source: Zhong et al. 2025, doi:10.1109/TCSVT.2025.3629753, screening of misattributed pixels.

    >>> cams = torch.tensor([[[[4.0, 0.3]]], [[[0.5, 9.0]]], [[[-1.0, 0.2]]]])
    >>> screen_pixels(cams, torch.tensor([[1], [0], [1]]), tau=0.1).flatten(1)
    tensor([[ True, False],
            [False, False],
            [False, False]])
    """
    activation = cams.detach().relu() * candidates[:, :, None, None].to(cams.dtype)
    strongest = activation.amax(dim=(0, 2, 3), keepdim=True)
    # Strictly greater: where a class has no activation at all, 0 > 0 keeps nothing.
    return activation > tau * strongest
