import torch

from pipeline.model.backbone import Backbone
from pipeline.model.classifier import Classifier
from pipeline.model.heads import CSRA


def test_images_are_scaled_and_normalised_before_the_trunk():
    trunk = Backbone("test_resnet", img_size=64)
    torch.manual_seed(0)
    head = CSRA(trunk.feature_dim, 5, 1, 0.1)
    classifier = Classifier(trunk, head, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    classifier.eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    scaled = (images.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    output = classifier(images)
    torch.testing.assert_close(output.features, trunk(scaled))
    assert {"mean", "std"}.isdisjoint(classifier.state_dict())
    assert output.logits.shape == (2, 5)
    assert output.cams.shape == (2, 5, *output.features.shape[2:])


def test_scores_stay_in_float32_under_autocast():
    trunk = Backbone("test_resnet", img_size=64)
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, 5, 1, 0.1))
    with torch.autocast("cpu", torch.bfloat16):
        output = classifier(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert output.features.dtype == torch.bfloat16
    assert output.logits.dtype == output.cams.dtype == torch.float32
