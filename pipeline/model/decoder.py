"""A decoder head: a query a class attends to the feature map, and a prototype a class beside it."""

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.model.heads import Standardization

WIDTH, HEADS, HIDDEN, DROPOUT = 512, 8, 2048, 0.1


class Decoder(nn.Module):
    """Cross-attention of class queries, without attention among them.

    The embedding of a class is its query after one decoder layer over the positions of the map. A
    linear score of its own makes it a logit, and its angle to the class's prototype a similarity.

    Args:
        feature_dim: D.
        classes: C.
        standardized: standardise features first, see `Standardization`.

    Attributes:
        queries, weight, prototypes: (C, 512), rows of a class each.
        bias: (C,).

    Source: Ridnik et al., ML-Decoder, WACV 2023 (arXiv:2111.12933), with as many queries as
    classes; here they are learned. Its layer: 512 wide, 8 heads, feed-forward 2048, dropout 0.1.
    """

    def __init__(self, feature_dim: int, classes: int, standardized: bool = False) -> None:
        super().__init__()
        self.standardization = Standardization(feature_dim) if standardized else None
        self.embed = nn.Sequential(nn.Linear(feature_dim, WIDTH), nn.ReLU())
        self.queries = nn.Parameter(torch.randn(classes, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, DROPOUT, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, WIDTH)
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        bound = WIDTH**-0.5
        self.weight = nn.Parameter(torch.empty(classes, WIDTH).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.prototypes = nn.Parameter(torch.empty(classes, WIDTH).uniform_(-bound, bound))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (B, C), detached maps (B, C, H, W), and similarities (B, C) in [0, 1].

        A similarity is (1 + cos) / 2 of the angle between embedding and prototype.
        """
        if self.standardization is not None:
            features = self.standardization(features)
        # In one layout, whatever the map's: the last bits of a product depend on it.
        positions = self.embed(features.flatten(2).transpose(1, 2).contiguous())
        queries = self.queries.expand(features.shape[0], -1, -1)  # len() would fix B in an export
        attended, shares = self.attention(queries, positions, positions, average_attn_weights=False)
        embeddings = self.norms[0](queries + self.dropout(attended))
        embeddings = self.norms[1](embeddings + self.dropout(self.feed_forward(embeddings)))
        logits = (embeddings * self.weight).sum(dim=2) + self.bias
        similarities = (1 + F.cosine_similarity(embeddings, self.prototypes, dim=2)) / 2
        maps = self.class_maps(positions.detach(), shares.detach())
        return logits, maps.unflatten(2, features.shape[2:]), similarities

    @torch.no_grad()
    def class_maps(self, positions: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """The part of each position in each class's linear score, times their number.

        It is what attention brings to the score, before norms and feed-forward: the values at a
        position as the class's weights see them, by the share of attention that it gets.

        Args:
            positions: (B, HW, 512).
            shares: (B, 8, C, HW) >= 0, of attention.

        Returns:
            (B, C, HW).
        """
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        values = F.linear(positions, weight[2 * WIDTH :], bias[2 * WIDTH :])
        directions = self.weight @ self.attention.out_proj.weight  # (C, 512)
        scores = torch.einsum(
            "bphd,chd->bhcp", values.unflatten(2, (HEADS, -1)), directions.unflatten(1, (HEADS, -1))
        )
        return (shares * scores).sum(dim=1) * positions.shape[1]
