import json

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from pipeline.model.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_thresholds,
    recognise,
    thresholds_path,
)
from pipeline.model.classifier import assemble
from pipeline.model.heads import CSRA_TEMPERATURES
from pipeline.model.weights import load_strictly
from tests.helpers import csra_form, released_form
from utils.errors import UserError
from utils.options.stored import since_defaults

IMAGES = torch.randint(
    0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def classifier_of(model="resnet18", head="csra", num_heads=1, seed=0):
    """Five classes; running statistics away from their start, so that they matter."""
    torch.manual_seed(seed)
    result = assemble(model, 64, head, 5, num_heads, 0.3, "none")
    for name, buffer in result.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return result.eval()


def reload(path):
    """A new classifier with what the file holds, built from the file's word alone."""
    found = read_checkpoint(path)
    result = assemble(
        found.model, 64, found.head, found.classes, found.num_heads, 0.3, "none"
    ).eval()
    load_strictly(result, found.state, "file")
    return result, found


def same_logits(first, second):
    with torch.inference_mode():
        return torch.equal(first(IMAGES).logits, second(IMAGES).logits)


@pytest.mark.parametrize(("prefix", "model"), [("", "resnet50"), ("module.", "resnet18")])
def test_the_released_form_gives_identical_logits_without_its_selectors(prefix, model, tmp_path):
    original = classifier_of(model, "gap")
    torch.save(released_form(original, prefix), tmp_path / "w.pth")
    again, found = reload(tmp_path / "w.pth")
    assert same_logits(original, again)
    assert (found.model, found.head, found.num_heads, found.classes) == (model, "gap", 1, 5)
    [(group, tensors, _)] = found.ignored
    assert (group, tensors) == ("contrastive_class_selector_*", 10)


@pytest.mark.parametrize("num_heads", CSRA_TEMPERATURES)
def test_the_form_of_csra_gives_identical_logits_for_every_number_of_heads(num_heads, tmp_path):
    original = classifier_of(num_heads=num_heads)
    prefix = "module." if num_heads == 2 else ""
    torch.save(csra_form(original, prefix), tmp_path / "w.pth")
    again, found = reload(tmp_path / "w.pth")
    assert same_logits(original, again)
    assert (found.model, found.head, found.num_heads) == ("resnet18", "csra", num_heads)
    assert found.ignored == []


@pytest.mark.parametrize(
    ("head", "num_heads", "name"), [("csra", 2, "w.safetensors"), ("gap", 1, "w.pt")]
)
def test_own_files_give_identical_logits(head, num_heads, name, tmp_path):
    original = classifier_of("resnet34", head, num_heads)
    if name.endswith("pt"):
        torch.save({"classifier": original.state_dict(), "epoch": 3}, tmp_path / name)
    else:
        safetensors.torch.save_file(original.state_dict(), tmp_path / name)
    again, found = reload(tmp_path / name)
    assert same_logits(original, again)
    assert (found.head, found.num_heads, found.options) == (head, num_heads, {})


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_depth_of_torchvision_is_told_by_its_keys(depth, tmp_path):
    with torch.device("meta"):  # names and shapes alone
        resnet = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    resnet["fc_all.weight"] = resnet.pop("fc.weight")
    resnet["fc_all.bias"] = resnet.pop("fc.bias")
    assert recognise(resnet, tmp_path).model == f"resnet{depth}"


@pytest.mark.parametrize(
    "model",
    ["resnet10t", "resnet18d", "seresnet18", "resnext50_32x4d", "wide_resnet50_2", "resnet50_gn"],
)
def test_another_trunk_is_not_taken_for_a_resnet(model, tmp_path):
    with torch.device("meta"):
        trunk = timm.create_model(model, num_classes=0).state_dict()
    state = {f"trunk.model.{name}": value for name, value in trunk.items()}
    state["head.linear.weight"] = torch.ones(5, 512)
    assert recognise(state, tmp_path).model is None


# What is refused


def refused(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_keys_of_no_known_form_are_named(tmp_path):
    text = refused({"fc.weight": torch.ones(2, 2), "conv1.weight": torch.ones(1)}, tmp_path)
    assert "is no classifier known here" in text
    assert "fc.weight, conv1.weight" in text


def test_attention_heads_must_be_counted_through_and_alike(tmp_path):
    state = csra_form(classifier_of(num_heads=2))
    moved = dict(state)
    moved["classifier.multi_head.3.head.weight"] = moved.pop("classifier.multi_head.1.head.weight")
    assert "expected attention heads 0, 1, ..." in refused(moved, tmp_path)
    state["classifier.multi_head.1.head.weight"] = torch.ones(4, 512, 1, 1)
    assert "(4, 512, 1, 1)" in refused(state, tmp_path)


def test_a_number_of_heads_without_temperatures_is_refused(tmp_path):
    state = csra_form(classifier_of(num_heads=4))
    del state["classifier.multi_head.3.head.weight"]
    assert "1 2 4 6 or 8 of them" in refused(state, tmp_path)


@pytest.mark.parametrize("size", [(3, 3), (0, 0)])
def test_kernels_of_another_size_are_refused(size, tmp_path):
    state = csra_form(classifier_of())
    state["classifier.multi_head.0.head.weight"] = torch.ones(5, 512, *size)
    assert "(classes, channels, 1, 1), but found" in refused(state, tmp_path)


def test_heads_are_ordered_by_their_number(tmp_path):
    original = classifier_of(num_heads=4)
    state = csra_form(original)
    torch.save(dict(reversed(state.items())), tmp_path / "w.pth")
    assert same_logits(original, reload(tmp_path / "w.pth")[0])


def test_one_wrong_shape_in_the_trunk_is_named(tmp_path):
    state = csra_form(classifier_of())
    state["layer3.0.bn2.weight"] = torch.ones(7)
    torch.save(state, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"layer3.0.bn2.weight \(7,\) instead of \(256,\)"):
        load_strictly(classifier_of(), found.state, "file")


# Runs


@pytest.fixture
def folder(tmp_path):
    """A run's folder of five classes."""
    path = tmp_path / "r"
    path.mkdir()
    safetensors.torch.save_file(classifier_of().state_dict(), path / "model.safetensors")
    config = {"options": {"model": "resnet18"}, "data": {"classes": list("abcde")}}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_the_config_of_a_run_comes_with_its_folder_and_its_file(folder, name):
    found = read_checkpoint(folder / name)
    assert found.options == {"model": "resnet18", **since_defaults()}
    assert found.data["classes"] == list("abcde")


def test_a_config_beside_another_file_is_not_its_own(folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert read_checkpoint(folder / "other.safetensors").options == {}


def test_a_run_whose_config_names_other_classes_is_refused(folder):
    config = {"options": {}, "data": {"classes": list("abc")}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"scores 5 classes, but the config.json .* names 3"):
        read_checkpoint(folder)


def test_what_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no weight file .*nowhere: give a .pth or"):
        read_checkpoint(tmp_path / "nowhere")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds neither model.safetensors nor last.pt"):
        read_checkpoint(tmp_path)


# Thresholds


def checkpoint(path, options):
    return Checkpoint(path, {}, None, "gap", 1, 2, [], options, {})


def test_thresholds_lie_in_the_run_or_beside_the_file(tmp_path):
    alone = checkpoint(tmp_path / "voc.pth", {})
    assert thresholds_path(alone) == tmp_path / "voc.pth.thresholds.json"
    run = checkpoint(tmp_path / "last.pt", {"seed": 0})
    assert thresholds_path(run) == tmp_path / "thresholds.json"
    assert read_thresholds(run, ["a", "b"]) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"thresholds": {"a": 0.5}, "split": "test", "dataset": "coco"}',
        '{"thresholds": {"a": 0.5, "b": "x"}, "split": "test", "dataset": "coco"}',
        '{"thresholds": {"a": 0.5, "b": 0.1, "c": 0.1}, "split": "test", "dataset": "coco"}',
        '{"thresholds": {"a": 0.5, "b": 0.1}}',
    ],
)
def test_thresholds_that_do_not_fit_are_refused(content, tmp_path):
    (tmp_path / "w.pth.thresholds.json").write_text(content)
    with pytest.raises(UserError, match="a threshold for each of the 2 classes"):
        read_thresholds(checkpoint(tmp_path / "w.pth", {}), ["a", "b"])
