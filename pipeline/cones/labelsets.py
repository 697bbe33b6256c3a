"""What the candidates alone tell: the noise rate, and which candidates go together.

True labels come in sets that repeat, sea with sand and sky; false candidates come by chance. A
mixture of label sets seen through that noise tells the two apart before any image is looked at.
"""

from typing import NamedTuple

import torch

Tensor = torch.Tensor
LEAST_RATE = 1e-4
POOLED = 0.05  # share of images that speak for the mean rate in each class's


class LabelSets(NamedTuple):
    """What `fit_label_sets` finds.

    probability: (N, C) float32 in (0, 1): how likely each label is true given the other labels'
        candidates of its image; whether it is a candidate itself does not enter.
    rates: (C,) float32 in [0, 1): how often a false label becomes a candidate.
    """

    probability: Tensor
    rates: Tensor


def posterior(
    probability: Tensor, rates: Tensor, candidates: Tensor, nonempty: bool = True
) -> Tensor:
    """How likely each candidate is true, when each image has a true one if it has any candidate.

    A true label always is a candidate and a false one with its class's rate rho. Bayes' rule
    gives t = p / (p + (1 - p) rho) to a candidate. That at least one of them is true divides by
    1 - prod(1 - t) over them.

    Args:
        probability: (B, C) float in [0, 1], p, of being true before it is known to be a candidate.
        rates: (C,) float in [0, 1], rho.
        candidates: (B, C) in {0, 1}.
        nonempty: use that at least one is true.

    Returns:
        (B, C) float in [0, 1]; 0 outside the candidates, 1 for a lone one.

    >>> p, rates = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.5, 0.9]]), torch.full((3,), 0.25)
    >>> posterior(p, rates, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    tensor([[0.8333, 0.8333, 0.0000],
            [1.0000, 0.0000, 0.0000]])
    """
    candidates = candidates.to(probability.dtype)
    # The bounds keep 0 / 0 out where every candidate is sure to be false, or there is none.
    p = probability.clamp(min=1e-18)
    alone = candidates * p / (p + (1 - p) * rates)
    if not nonempty:
        return alone
    none_true = torch.log1p(-alone).sum(dim=1, keepdim=True)
    return (alone / -torch.expm1(none_true).clamp(max=-1e-30)).clamp(max=1)


def fit_label_sets(
    candidates: Tensor,
    rate: float | None = None,
    sets: int = 10,
    iterations: int = 150,
    starts: int = 2,
) -> LabelSets:
    """Fit a mixture of label sets and the noise to candidates, by EM.

    An image belongs to one of K sets; in set k, label c is true with probability theta_kc,
    independently, and a false label becomes a candidate with rate rho_c:
    P(S_c = 1 | k) = theta_kc + (1 - theta_kc) rho_c. theta and rho can be traded for each other, so
    they are fitted one after the other. For rho, counts of true labels are lowered by half a
    label, a Dirichlet prior below 1: what noise explains is left to it; and classes are drawn
    towards their mean, as if that had been seen on `POOLED` of the images. For theta, with rho as
    found, one more image with the class's own frequency is counted in each set: no class is
    given up.

    Args:
        candidates: (N, C) in {0, 1}; N of at least 1.
        rate: rho of every class, where it is known; None estimates it.
        sets: K.
        iterations: of EM, each time.
        starts: random starts, from fixed seeds, of which the most likely fit is taken.

    Returns:
        label sets on the device of `candidates`. No rate is above what its class's frequency as a
        candidate less a standard error, sqrt(rho (1 - rho) / N), allows: a class that seems to
        be never true would never be learned.

    >>> sure = torch.eye(4).repeat(50, 1)  # one label an image: nothing is noise
    >>> bool((fit_label_sets(sure).rates < 0.02).all())
    True
    """
    observed = candidates.float()
    if rate is None:
        rates = best_fit(observed, sets, iterations, starts).rates
        # Labels that keep no company look like noise; one an image is true all the same.
        rates = rates * (most_noise(observed) / rates.mean()).clamp(max=1)
    else:
        rates = observed.new_full((observed.shape[1],), rate)
    frequency = observed.mean(dim=0)
    error = (rates * (1 - rates) / len(observed)).sqrt()
    rates = torch.minimum(rates, frequency - error).clamp(0, 0.99)
    prevalence = (frequency - rates) / (1 - rates)
    fit = best_fit(observed, sets, iterations, starts, rates, prevalence)
    # Leaving label c out of the evidence divides each set's weight by the chance of what was
    # seen of c, in closed form for all labels at once.
    seen = fit.theta + (1 - fit.theta) * rates
    member, missing = membership(observed, fit), 1 - observed
    present, absent = 1 / seen, 1 / (1 - seen)
    weight = observed * (member @ present) + missing * (member @ absent)
    true = observed * (member @ (present * fit.theta)) + missing * (member @ (absent * fit.theta))
    return LabelSets((true / weight).clamp(1e-4, 1 - 1e-4), rates)


def most_noise(observed: Tensor) -> Tensor:
    """The rate at which every image with candidates has one true label: others are noise."""
    labelled = observed.any(dim=1).sum()
    return (observed.sum() - labelled) / (observed.numel() - labelled).clamp(min=1)


class Mixture(NamedTuple):
    """theta (K, C), rates (C,), shares of the sets (K,) and log-likelihood an image."""

    theta: Tensor
    rates: Tensor
    share: Tensor
    likelihood: float = -torch.inf


def best_fit(
    observed: Tensor,
    sets: int,
    iterations: int,
    starts: int,
    rates: Tensor | None = None,
    prevalence: Tensor | None = None,
) -> Mixture:
    """The most likely of several fits; rates are estimated, all alike, where None are given."""
    fits = (run_em(observed, sets, iterations, seed, rates, prevalence) for seed in range(starts))
    return max(fits, key=lambda fit: fit.likelihood)


def run_em(
    observed: Tensor,
    sets: int,
    iterations: int,
    seed: int,
    rates: Tensor | None,
    prevalence: Tensor | None,
) -> Mixture:
    """EM from one random start."""
    images, classes = observed.shape
    # Drawn on the CPU: the same start on every device. Cubed, so that each image leans to a set.
    random = torch.rand(images, sets, generator=torch.Generator().manual_seed(seed)) ** 3
    member = (random / random.sum(dim=1, keepdim=True)).to(observed.device)
    known = rates is not None
    strength = POOLED * images
    if rates is None:
        rates = (0.7 * most_noise(observed)).clamp(LEAST_RATE, 0.99).repeat(classes)
    theta = observed.new_full((sets, classes), 0.5)
    for iteration in range(iterations):
        size = member.sum(dim=0)
        together = member.T @ observed
        true = together * theta / (theta + (1 - theta) * rates)
        if iteration == 0:
            seen = together / size.clamp(min=1e-6)[:, None]
            theta = ((seen - rates) / (1 - rates)).clamp(0.02, 0.95)
        elif prevalence is None:
            theta = (true - 0.5).clamp(min=1e-3) / (size[:, None] + 1)
        else:
            theta = (true + prevalence) / (size[:, None] + 1)
        theta = theta.clamp(1e-5, 0.999)
        fit = Mixture(theta, rates, (size + 1) / (images + sets))
        member = membership(observed, fit)
        if not known and iteration > 5:  # theta first has to leave its random start
            true = observed * (member @ (theta / (theta + (1 - theta) * rates)))
            flipped, false = (observed - true).sum(dim=0), (1 - true).sum(dim=0)
            pooled = flipped.sum() / false.sum().clamp(min=1e-6)
            rates = (flipped + strength * pooled) / (false + strength)
            rates = rates.clamp(LEAST_RATE, 0.99)
    likelihood = log_joint(observed, fit).logsumexp(dim=1).mean().item()
    return fit._replace(rates=rates, likelihood=likelihood)


def log_joint(observed: Tensor, fit: Mixture) -> Tensor:
    """log P(set, candidates) of every image, (N, K)."""
    present = (fit.theta + (1 - fit.theta) * fit.rates).log()
    absent = ((1 - fit.theta) * (1 - fit.rates)).log()
    return observed @ (present - absent).T + absent.sum(dim=1) + fit.share.log()


def membership(observed: Tensor, fit: Mixture) -> Tensor:
    """P(set | candidates) of every image, (N, K)."""
    return log_joint(observed, fit).softmax(dim=1)
