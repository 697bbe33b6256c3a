import math

import pytest
import torch

from pipeline.model.heads import CSRA, CSRA_TEMPERATURES, GlobalAveragePooling


def csra_by_loops(features, weight, temperatures, lam):
    """The formula of Zhu and Wu (2021), one image, head, class and pixel at a time."""
    images, _, height, width = features.shape
    logits = torch.zeros(images, weight.shape[1])
    maps = torch.zeros(images, weight.shape[1], height, width)
    for b in range(images):
        for head_weight, temperature in zip(weight, temperatures):
            for c, direction in enumerate(head_weight):
                scores = [
                    float(direction @ features[b, :, y, x] / direction.norm())
                    for y in range(height)
                    for x in range(width)
                ]
                mean = sum(scores) / len(scores)
                if temperature == math.inf:
                    attended = max(scores)
                else:
                    shares = [math.exp(temperature * score) for score in scores]
                    attended = sum(s * v for s, v in zip(shares, scores)) / sum(shares)
                logits[b, c] += mean + lam * attended
                maps[b, c] += torch.tensor(scores).view(height, width)
    return logits, maps


@pytest.mark.parametrize("num_heads", [1, 2, 4, 6, 8])
def test_csra_agrees_with_loops_written_from_the_formula(num_heads):
    torch.manual_seed(num_heads)
    head = CSRA(feature_dim=5, classes=3, num_heads=num_heads, lam=0.3)
    features = torch.randn(2, 5, 2, 3)
    logits, cams = head(features)
    temperatures = CSRA_TEMPERATURES[num_heads]
    assert len(temperatures) == num_heads
    expected = csra_by_loops(features, head.weight.detach(), temperatures, 0.3)
    torch.testing.assert_close(logits, expected[0])
    torch.testing.assert_close(cams, expected[1])


def test_average_pooling_agrees_with_loops_written_from_the_formula():
    torch.manual_seed(0)
    head = GlobalAveragePooling(feature_dim=4, classes=3)
    features = torch.randn(2, 4, 2, 3)
    logits, cams = head(features)
    for b in range(2):
        for c, (weight, bias) in enumerate(zip(head.linear.weight, head.linear.bias)):
            scores = sum(w * channel for w, channel in zip(weight.tolist(), features[b]))
            torch.testing.assert_close(cams[b, c], scores)
            torch.testing.assert_close(logits[b, c], scores.mean() + bias)


@pytest.mark.parametrize("head", [CSRA(4, 3, 2), GlobalAveragePooling(4, 3)])
def test_gradients_flow_through_logits_and_not_through_maps(head):
    features = torch.randn(2, 4, 3, 3, requires_grad=True)
    logits, cams = head(features)
    assert logits.requires_grad
    assert not cams.requires_grad
    logits.sum().backward()
    assert features.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in head.parameters())
