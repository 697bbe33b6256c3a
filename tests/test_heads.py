import math

import pytest
import torch

from pipeline.model.decoder import Decoder
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


def test_a_decoder_has_scores_maps_and_similarities_of_each_class():
    logits, cams, similarities = Decoder(feature_dim=5, classes=3)(torch.randn(2, 5, 4, 6))
    assert logits.shape == similarities.shape == (2, 3)
    assert cams.shape == (2, 3, 4, 6)
    assert ((similarities >= 0) & (similarities <= 1)).all()


def test_the_classes_of_a_decoder_do_not_see_each_other():
    """Fewer classes have the scores that they have among more."""
    many, few = Decoder(5, 4).eval(), Decoder(5, 2).eval()
    own = {"queries", "weight", "bias", "prototypes"}
    state = many.state_dict()
    few.load_state_dict({name: v[1:3] if name in own else v for name, v in state.items()})
    features = torch.randn(2, 5, 3, 3)
    for found, expected in zip(few(features), many(features)):
        torch.testing.assert_close(found, expected[:, 1:3])


def test_the_positions_of_a_decoders_map_add_up_to_what_attention_brings_to_the_score():
    torch.manual_seed(0)
    head = Decoder(5, 3).eval()
    kept = []
    head.attention.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
    _, cams, _ = head(torch.randn(2, 5, 3, 4))
    attended = kept[0] - head.attention.out_proj.bias
    torch.testing.assert_close(cams.mean(dim=(2, 3)), (attended * head.weight).sum(dim=2))


def test_a_prototype_equal_to_the_embedding_has_similarity_1():
    head = Decoder(5, 1).eval()
    kept = []
    head.norms[1].register_forward_hook(lambda module, inputs, output: kept.append(output))
    features = torch.randn(1, 5, 3, 3)
    head(features)
    for sign, expected in ((2, 1.0), (-1, 0.0)):
        head.prototypes.data = sign * kept[0][0].detach()
        assert head(features)[2].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("head", [CSRA(4, 3, 2, 0.1), GlobalAveragePooling(4, 3), Decoder(4, 3)])
def test_gradients_flow_through_scores_and_not_through_maps(head):
    features = torch.randn(2, 4, 3, 3, requires_grad=True)
    logits, cams, *similarities = head(features)
    assert logits.requires_grad
    assert not cams.requires_grad
    sum(scores.sum() for scores in (logits, *similarities)).backward()
    assert features.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in head.parameters())
