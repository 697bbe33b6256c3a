import os
import pickle

import pytest
import safetensors.torch
import timm
import torch

from pipeline.model import weights
from pipeline.model.backbone import Backbone
from pipeline.model.weights import load_strictly, load_trunk, read_weights
from utils.errors import UserError


@pytest.fixture
def resnet():
    """A full timm ResNet with its classifier, as weight files hold it."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


@pytest.mark.parametrize("form", ["pth", "safetensors", "wrapped", "data parallel"])
def test_every_form_of_file_loads_the_same_trunk(resnet, form, tmp_path):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        safetensors.torch.save_file(resnet, path)
    elif form == "wrapped":
        torch.save({"state_dict": resnet, "epoch": 3}, path)
    elif form == "data parallel":
        torch.save({f"module.{key}": value for key, value in resnet.items()}, path)
    else:
        torch.save(resnet, path)
    trunk = Backbone("test_resnet", 64)
    load_trunk(trunk, str(path), 64)
    for key, value in trunk.model.state_dict().items():
        assert torch.equal(value, resnet[key]), key


def test_none_keeps_the_random_initialisation():
    trunk = Backbone("test_resnet", 64)
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    load_trunk(trunk, "none", 64)
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_keys_that_do_not_fit_are_listed_and_nothing_is_loaded(resnet, tmp_path):
    changed = dict(resnet)
    changed.pop("layer1.0.conv1.weight")
    changed["layer9.weight"] = torch.zeros(3)
    changed["layer2.0.conv1.weight"] = torch.zeros(2, 2)
    torch.save(changed, tmp_path / "w.pth")
    trunk = Backbone("test_resnet", 64)
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_trunk(trunk, str(tmp_path / "w.pth"), 64)
    text = str(caught.value)
    assert "1 missing (layer1.0.conv1.weight)" in text
    assert "1 unexpected (layer9.weight)" in text
    assert "1 of another shape (layer2.0.conv1.weight (2, 2) instead of" in text
    assert "\n" not in text
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"weight": Payload(tmp_path / "ran")}, tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for name in ("w.pth", "raw.pth"):
        with pytest.raises(UserError, match="tensors only"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_damaged_file_is_one_line(suffix, resnet, tmp_path):
    whole, damaged = tmp_path / f"whole.{suffix}", tmp_path / f"damaged.{suffix}"
    if suffix == "pth":
        torch.save(resnet, whole)
    else:
        safetensors.torch.save_file(resnet, whole)
    content = whole.read_bytes()
    for part in (b"", content[:5], content[: len(content) // 2], content[:-40]):
        damaged.write_bytes(part)
        with pytest.raises(UserError, match="cannot read weights from") as caught:
            read_weights(damaged)
        assert "\n" not in str(caught.value)


def test_files_without_a_state_dict_are_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(UserError, match="no weight file"):
        read_weights(tmp_path / "missing.pth")


def test_without_a_network_the_way_on_is_said(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(weights, "create_headless", no_network)
    with pytest.raises(UserError, match=r"Name or service not known.*--weights FILE.*none"):
        load_trunk(Backbone("test_resnet", 64), "imagenet", 64)


def test_batch_counters_may_be_missing_from_old_files():
    norm = torch.nn.BatchNorm2d(2)
    state = norm.state_dict()
    state.pop("num_batches_tracked")
    state["weight"] = torch.tensor([3.0, 4.0])
    load_strictly(norm, state, "file")
    assert norm.weight.tolist() == [3.0, 4.0]
