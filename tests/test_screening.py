import torch

from pipeline.cones.released import screen_pixels as released_screen_pixels
from pipeline.cones.screening import screen_pixels


def random_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    cams = torch.randn(5, 4, 3, 3, generator=generator)
    return cams, (torch.rand(5, 4, generator=generator) < 0.5).long()


def test_agrees_with_a_loop_over_images_and_pixels():
    cams, candidates = random_batch()
    kept = screen_pixels(cams, candidates, tau=0.3)
    for c in range(4):
        images = [b for b in range(5) if candidates[b, c]]
        strongest = max((cams[b, c].relu().max().item() for b in images), default=0.0)
        for b in range(5):
            for y in range(3):
                for x in range(3):
                    value = max(cams[b, c, y, x].item(), 0.0)
                    assert kept[b, c, y, x] == (b in images and value > 0.3 * strongest)


def test_images_without_the_candidate_neither_give_pixels_nor_raise_the_bar():
    cams = torch.tensor([[[[1.0]]], [[[100.0]]]])
    candidates = torch.tensor([[1], [0]])
    assert screen_pixels(cams, candidates, 0.1).flatten().tolist() == [True, False]
    # The released code screens over all images: the stranger sets the bar and is kept.
    assert released_screen_pixels(cams, candidates, 0.1).flatten().tolist() == [False, True]


def test_a_class_without_positive_activation_keeps_nothing():
    assert not screen_pixels(-torch.ones(2, 3, 2, 2), torch.ones(2, 3), 0.1).any()


def test_arguments_stay_as_they_were():
    cams, candidates = random_batch()
    before = cams.clone(), candidates.clone()
    screen_pixels(cams, candidates, 0.1)
    assert torch.equal(cams, before[0])
    assert torch.equal(candidates, before[1])
