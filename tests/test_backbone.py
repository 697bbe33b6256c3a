import pytest
import timm
import torch

from pipeline.model.backbone import Backbone
from utils.errors import UserError

# A ResNet, a transformer, layers in NHWC order, and two trunks with layers behind the pooling.
TRUNKS = ["resnet10t", "test_vit", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"]


@pytest.mark.parametrize("name", [*TRUNKS, "convnext_atto"])
def test_a_trunk_gives_a_feature_map_and_every_parameter_runs(name):
    trunk = Backbone(name, img_size=160)
    assert trunk.training
    features = trunk(torch.rand(2, 3, 160, 160))
    assert features.shape[:2] == (2, trunk.feature_dim)
    assert features.dim() == 4
    (features * torch.rand_like(features)).sum().backward()
    assert [key for key, value in trunk.named_parameters() if value.grad is None] == []


def test_feature_map_is_timm_s_own():
    trunk = Backbone("resnet10t", img_size=64).eval()
    model = timm.create_model("resnet10t", num_classes=0, global_pool="").eval()
    model.load_state_dict(trunk.model.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(trunk(images), model(images))


def test_token_grids_keep_their_rows_and_columns():
    trunk = Backbone("test_vit", img_size=160).eval()
    images = torch.rand(1, 3, 160, 160)
    tokens = trunk.model.forward_features(images)[:, trunk.model.num_prefix_tokens :]
    side = 160 // trunk.model.patch_embed.patch_size[0]
    assert torch.equal(trunk(images)[0, :, 2, 3], tokens[0, 2 * side + 3])


def test_probing_for_idle_layers_leaves_no_trace():
    torch.manual_seed(0)
    trunk = Backbone("resnet10t", img_size=64)
    torch.manual_seed(0)
    fresh = timm.create_model("resnet10t", num_classes=0, global_pool="")
    for (key, value), expected in zip(
        trunk.model.state_dict().items(), fresh.state_dict().values()
    ):
        assert torch.equal(value, expected), key


def test_an_unknown_model_is_refused_with_near_names():
    with pytest.raises(UserError, match="unknown model 'resnet1O1'.*resnet101"):
        Backbone("resnet1O1", img_size=64)


def test_a_model_without_a_feature_map_is_refused():
    with pytest.raises(UserError, match="efficientvit_b0.*gives no feature map"):
        Backbone("efficientvit_b0", img_size=64)
