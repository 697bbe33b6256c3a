import json

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch.optim.swa_utils import AveragedModel

from pipeline.model.checkpoint import (
    Checkpoint,
    load_classifier,
    read_checkpoint,
    read_thresholds,
    recognise,
    thresholds_path,
)
from pipeline.model.classifier import assemble
from pipeline.model.heads import CSRA_TEMPERATURES
from pipeline.model.weights import load_strictly
from tests.helpers import csra_form, refused, released_form
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
    ("head", "num_heads", "name"),
    [("csra", 2, "w.safetensors"), ("gap", 1, "w.pt"), ("decoder", 1, "w.pt")],
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
    assert (found.model, found.classes) == ("resnet34", 5)


def averaged(classifier):
    return AveragedModel(classifier).state_dict()


@pytest.mark.parametrize(
    "form",
    [
        averaged,
        lambda classifier: averaged(torch.compile(classifier)),
        lambda classifier: torch.compile(classifier).state_dict(),
        lambda classifier: {"state_dict_ema": classifier.state_dict()},
        lambda classifier: csra_form(classifier, "_orig_mod.module."),
        lambda classifier: {"n_averaged": torch.tensor(3)} | csra_form(classifier, "module."),
    ],
)
def test_what_is_wrapped_around_a_classifier_is_taken_off(form, tmp_path):
    original = classifier_of("resnet18")
    torch.save(form(original), tmp_path / "w.pth")
    again, found = reload(tmp_path / "w.pth")
    assert same_logits(original, again)
    assert (found.model, found.head, found.classes) == ("resnet18", "csra", 5)


def test_a_classifier_takes_weights_of_another_input_size(tmp_path):
    original = assemble("test_vit", 96, "gap", 5, 1, 0.3, "none")
    torch.save(original.state_dict(), tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    larger = assemble("test_vit", 160, "gap", 5, 1, 0.3, "none")
    load_classifier(larger, found, "file")
    assert larger.trunk.model.pos_embed.shape != original.trunk.model.pos_embed.shape
    assert torch.equal(larger.head.linear.weight, original.head.linear.weight)


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


def head(number):
    return f"classifier.multi_head.{number}.head.weight"


@pytest.mark.parametrize(
    ("num_heads", "change", "found"),
    [
        (1, lambda _: {"fc.weight": torch.ones(1)}, "is no classifier known here.*fc.weight"),
        (2, lambda s: s | {head(3): s.pop(head(1))}, "expected attention heads 0, 1, ..."),
        (2, lambda s: s | {head(1): torch.ones(4, 512, 1, 1)}, r"\(4, 512, 1, 1\)"),
        (4, lambda s: {k: v for k, v in s.items() if k != head(3)}, "1 2 4 6 or 8 of them"),
        (1, lambda s: s | {head(0): torch.ones(5, 512, 3, 3)}, "channels, 1, 1\\), but found"),
        (1, lambda s: s | {head(0): torch.ones(5, 512, 0, 0)}, "channels, 1, 1\\), but found"),
    ],
    ids=["no form", "not counted through", "classes", "temperatures", "kernels", "no kernels"],
)
def test_what_is_no_classifier_is_refused(num_heads, change, found, tmp_path):
    torch.save(change(csra_form(classifier_of(num_heads=num_heads))), tmp_path / "w.pth")
    with refused(found):
        read_checkpoint(tmp_path / "w.pth")


def test_heads_are_ordered_by_their_number(tmp_path):
    original = classifier_of(num_heads=4)
    torch.save(dict(reversed(csra_form(original).items())), tmp_path / "w.pth")
    assert same_logits(original, reload(tmp_path / "w.pth")[0])


def test_one_wrong_shape_in_the_trunk_is_named(tmp_path):
    state = csra_form(classifier_of())
    state["layer3.0.bn2.weight"] = torch.ones(7)
    torch.save(state, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    with refused(r"layer3.0.bn2.weight \(7,\) instead of \(256,\)"):
        load_strictly(classifier_of(), found.state, "file")


# Runs


def write_config(folder, classes, **options):
    config = {"options": options, "data": {"classes": list(classes)}}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def folder(tmp_path):
    """A run's folder of five classes."""
    safetensors.torch.save_file(classifier_of().state_dict(), tmp_path / "model.safetensors")
    write_config(tmp_path, "abcde", model="resnet18")
    return tmp_path


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_the_config_of_a_run_comes_with_its_folder_and_its_file(folder, name):
    found = read_checkpoint(folder / name)
    assert found.options == {"model": "resnet18", **since_defaults()}
    assert found.data["classes"] == list("abcde")


def test_a_config_beside_another_file_is_not_its_own(folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert read_checkpoint(folder / "other.safetensors").options == {}


def test_a_run_whose_config_names_other_classes_is_refused(folder):
    write_config(folder, "abc")
    with refused(r"scores 5 classes, but the config.json .* names 3"):
        read_checkpoint(folder)


def test_what_holds_no_weights_is_refused(tmp_path):
    with refused("no weight file .*nowhere: give a .pth or"):
        read_checkpoint(tmp_path / "nowhere")
    with refused("holds neither model.safetensors nor last.pt"):
        read_checkpoint(tmp_path)


# Thresholds


def checkpoint(path, options):
    return Checkpoint(path, {}, None, "gap", 1, 2, [], options, {})


def test_thresholds_lie_in_the_run_or_beside_the_file(tmp_path):
    alone = checkpoint(tmp_path / "voc.pth", {})
    assert thresholds_path(alone) == tmp_path / "voc.pth.thresholds.json"
    found = checkpoint(tmp_path / "last.pt", {"seed": 0})
    assert thresholds_path(found) == tmp_path / "thresholds.json"
    assert read_thresholds(found, ["a", "b"]) is None


OF_TEST = '"split": "test", "dataset": "coco"}'


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"thresholds": {"a": 0.5, "b": 0.1}}'),
        '{"thresholds": {"a": 0.5}, ' + OF_TEST,
        '{"thresholds": {"a": 0.5, "b": "x"}, ' + OF_TEST,
        '{"thresholds": {"a": 0.5, "b": 0.1, "c": 0.1}, ' + OF_TEST,
    ],
)
def test_thresholds_that_do_not_fit_are_refused(content, tmp_path):
    (tmp_path / "w.pth.thresholds.json").write_text(content)
    with refused("a threshold for each of the 2 classes"):
        read_thresholds(checkpoint(tmp_path / "w.pth", {}), ["a", "b"])
