"""Estimates from the candidates alone: the noise rate, and which candidates go together.

True labels come in sets that repeat, sea with sand and sky; false candidates come by chance. A
mixture of label sets, a latent class model, seen through that noise tells the two apart before any
image is looked at.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from pipeline.data.rows import CandidateRows

Tensor = torch.Tensor
LEAST_RATE = 1e-4
MOST_IMAGES = 100_000  # that the mixture is fitted to; of more, as many evenly spaced
BLOCK = 2**14  # images whose members are summed in one go: float32 cannot sum many more
POOLED = 0.05  # share of images that speak for the mean rate in each class's


class LabelSets(NamedTuple):
    """The result of `fit_label_sets`.

    probability: (entries,) float32 in (0, 1): how likely each candidate is true given the other
        labels' candidates of its image; that it is a candidate itself does not enter. Labels that
        are no candidates are false, and nothing is kept of them.
    rates: (C,) float32 in [0, 1): how often a false label becomes a candidate.
    """

    probability: Tensor
    rates: Tensor


def posterior(
    probability: Tensor, rates: Tensor, candidates: Tensor, nonempty: bool = True
) -> Tensor:
    """Probability that each candidate is true, given that at least one of its image is.

    A true label always is a candidate and a false one with its class's rate rho. Bayes' rule
    gives t = p / (p + (1 - p) rho) to a candidate. That at least one of them is true divides by
    1 - prod(1 - t) over them.

    Args:
        probability: (B, C) float in [0, 1], p, of being true before it is known to be a candidate.
        rates: (C,) or (B, C) float in [0, 1], rho.
        candidates: (B, C) in {0, 1}.
        nonempty: use that at least one is true.

    Returns:
        (B, C) float in [0, 1]; 0 outside the candidates, 1 for a lone one.

    >>> p, rates = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.5, 0.9]]), torch.full((3,), 0.25)
    >>> posterior(p, rates, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    tensor([[0.8333, 0.8333, 0.0000],
            [1.0000, 0.0000, 0.0000]])
    """
    alone = candidates.to(probability.dtype) * bayes(probability, rates)
    if not nonempty:
        return alone
    return given_one(alone, torch.log1p(-alone).sum(dim=1, keepdim=True))


def posterior_of_rows(
    probability: Tensor, rates: Tensor, rows: CandidateRows, nonempty: bool = True
) -> Tensor:
    """`posterior` of all candidates of `rows`: (entries,) from their probabilities (entries,)."""
    alone = bayes(probability, rates[rows.columns])
    if not nonempty:
        return alone
    log_none_true = torch.segment_reduce(torch.log1p(-alone), "sum", lengths=rows.count)
    return given_one(alone, log_none_true.repeat_interleave(rows.count))


def bayes(probability: Tensor, rates: Tensor) -> Tensor:
    """Probability that a candidate is true, from the one before it is known to be a candidate."""
    # The bounds, here and below, keep 0 / 0 out where every candidate is sure to be false.
    p = probability.clamp(min=1e-18)
    return p / (p + (1 - p) * rates)


def given_one(alone: Tensor, log_none_true: Tensor) -> Tensor:
    """`alone` given that one is true at least; `log_none_true` is the logarithm of P(none is)."""
    return (alone / -torch.expm1(log_none_true).clamp(max=-1e-30)).clamp(max=1)


class Observed:
    """Candidates in the other product, with their transpose, at the cost of their number.

    Args:
        rows: the candidates S, (N, C).
    """

    def __init__(self, rows: CandidateRows) -> None:
        self.rows = rows
        image = torch.arange(rows.images, device=rows.device).repeat_interleave(rows.count)
        # One bag a class and block of images: near in memory, and many to share out.
        bag = image // BLOCK * rows.classes + rows.columns
        blocks = -(-rows.images // BLOCK)
        ends = torch.bincount(bag, minlength=blocks * rows.classes).cumsum(0)
        self.start = F.pad(ends, (1, 0)).int()
        self.image = image[bag.argsort(stable=True)].int()

    def transposed_times(self, matrix: Tensor) -> Tensor:
        """S' M, (C, K), with M (N, K)."""
        sums = F.embedding_bag(self.image, matrix, self.start, mode="sum", include_last_offset=True)
        return sums.view(-1, self.rows.classes, matrix.shape[1]).sum(dim=0)


def fit_label_sets(
    rows: CandidateRows,
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
    label, the mode under a Beta(1/2, 5/2) prior: what noise explains is left to it; and classes
    are drawn towards their mean, as if that had been seen on `POOLED` of the images. For theta,
    with rho as found, one more image with the class's own frequency is counted in each set: no
    class is given up. Of more than `MOST_IMAGES` images, as many evenly spaced ones are fitted to.

    Args:
        rows: candidates of N images, at least 1.
        rate: rho of every class, where it is known; None estimates it.
        sets: K.
        iterations: of EM, each time.
        starts: random starts, from fixed seeds, of which the most likely fit is taken.

    Returns:
        label sets on the device of `rows`. No rate is above what its class's frequency as a
        candidate less a standard error, sqrt(rho (1 - rho) / N), allows: a class that seems to
        be never true would never be learned.

    >>> sure = torch.eye(4).repeat(50, 1)  # one label an image: nothing is noise
    >>> bool((fit_label_sets(CandidateRows.from_dense(sure)).rates < 0.02).all())
    True
    """
    sample = rows
    if rows.images > MOST_IMAGES:
        chosen = torch.arange(MOST_IMAGES, device=rows.device) * rows.images // MOST_IMAGES
        sample = rows.take(chosen)
    observed = Observed(sample)
    if rate is None:
        rates = best_fit(observed, sets, iterations, starts).rates
        # Labels that occur with no others look like noise; one an image is true all the same.
        rates = rates * (most_noise(rows) / rates.mean()).clamp(max=1)
    else:
        rates = torch.full((rows.classes,), rate, device=rows.device)
    frequency = rows.class_count / rows.images
    error = (rates * (1 - rates) / rows.images).sqrt()
    rates = torch.minimum(rates, frequency - error).clamp(0, 0.99)
    prevalence = (frequency - rates) / (1 - rates)
    fit = best_fit(observed, sets, iterations, starts, rates, prevalence)
    return LabelSets(context_prior(rows, fit), rates)


def context_prior(rows: CandidateRows, fit: "Mixture") -> Tensor:
    """P(true | the image's other candidates) of every candidate, (entries,) in (0, 1)."""
    # Leaving label c out of the evidence divides each set's weight by the chance of what was
    # seen of c, here that it is a candidate.
    present = 1 / (fit.theta + (1 - fit.theta) * fit.rates)
    true = present * fit.theta
    probability = present.new_empty(len(rows.columns))
    for entries, part in rows.chunks():
        member = membership(part, fit).repeat_interleave(part.count, dim=0)
        weight = (member * present.T[part.columns]).sum(dim=1)
        probability[entries] = (member * true.T[part.columns]).sum(dim=1) / weight
    return probability.clamp(1e-4, 1 - 1e-4)


def most_noise(rows: CandidateRows) -> Tensor:
    """The rate at which every image with candidates has one true label: others are noise."""
    labelled = (rows.count > 0).sum()
    labels = rows.images * rows.classes
    return (len(rows.columns) - labelled) / (labels - labelled).clamp(min=1)


class Mixture(NamedTuple):
    """theta (K, C), rates (C,), shares of the sets (K,) and log-likelihood an image."""

    theta: Tensor
    rates: Tensor
    share: Tensor
    likelihood: float = -torch.inf


def best_fit(
    observed: Observed,
    sets: int,
    iterations: int,
    starts: int,
    rates: Tensor | None = None,
    prevalence: Tensor | None = None,
) -> Mixture:
    """The most likely of several fits; rates are estimated, one a class, where None are given."""
    fits = (run_em(observed, sets, iterations, seed, rates, prevalence) for seed in range(starts))
    return max(fits, key=lambda fit: fit.likelihood)


def run_em(
    observed: Observed,
    sets: int,
    iterations: int,
    seed: int,
    rates: Tensor | None,
    prevalence: Tensor | None,
) -> Mixture:
    """EM from one random start."""
    rows = observed.rows
    images, classes = rows.images, rows.classes
    # Drawn on the CPU: the same start on every device. Cubed, so that each image leans to a set.
    random = torch.rand(images, sets, generator=torch.Generator().manual_seed(seed)) ** 3
    member = (random / random.sum(dim=1, keepdim=True)).to(rows.device)
    known = rates is not None
    strength = POOLED * images
    if rates is None:
        rates = (0.7 * most_noise(rows)).clamp(LEAST_RATE, 0.99).repeat(classes)
    theta = torch.full((sets, classes), 0.5, device=rows.device)
    together = observed.transposed_times(member).T
    for iteration in range(iterations):
        size = member.sum(dim=0)
        if iteration == 0:
            seen = together / size.clamp(min=1e-6)[:, None]
            theta = ((seen - rates) / (1 - rates)).clamp(0.02, 0.95)
        else:
            true = together * bayes(theta, rates)
            more = (true - 0.5).clamp(min=1e-3) if prevalence is None else true + prevalence
            theta = more / (size[:, None] + 1)
        theta = theta.clamp(1e-5, 0.999)
        fit = Mixture(theta, rates, (size + 1) / (images + sets))
        joint = log_joint(rows, fit)
        member = joint.softmax(dim=1)
        together = observed.transposed_times(member).T
        if not known and iteration > 5:  # theta first has to leave its random start
            # An image's members sum to 1, so that what they do not hold true was flipped.
            share = bayes(theta, rates)
            true, flipped = (together * share).sum(dim=0), (together * (1 - share)).sum(dim=0)
            false = images - true
            pooled = flipped.sum() / false.sum().clamp(min=1e-6)
            rates = (flipped + strength * pooled) / (false + strength)
            rates = rates.clamp(LEAST_RATE, 0.99)
    likelihood = joint.logsumexp(dim=1).mean().item()
    return fit._replace(rates=rates, likelihood=likelihood)


def log_joint(rows: CandidateRows, fit: Mixture) -> Tensor:
    """log P(set, candidates) of every image, (N, K)."""
    present = (fit.theta + (1 - fit.theta) * fit.rates).log()
    absent = ((1 - fit.theta) * (1 - fit.rates)).log()
    return rows.times((present - absent).T) + absent.sum(dim=1) + fit.share.log()


def membership(rows: CandidateRows, fit: Mixture) -> Tensor:
    """P(set | candidates) of every image, (N, K)."""
    return log_joint(rows, fit).softmax(dim=1)
