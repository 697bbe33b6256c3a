"""Damaged and hostile files, in short; `make fuzz` is the long form."""

import io
import json
import mmap
import time

import pytest
import torch
from tqdm import tqdm

from pipeline.data import coco
from pipeline.data.lists.separators import parse_list
from pipeline.data.training_data import read_prior
from tests import fuzz as limits
from tests.fuzz import Reader, fuzz, fuzz_all
from tests.fuzz_readers import READERS
from tests.helpers import refused
from utils import tensor_files
from utils.comparison.grid import read_training


def test_every_reader_reads_or_refuses_what_is_damaged(tmp_path):
    tallies = fuzz_all(READERS, 10 * len(READERS), 0, tmp_path / "failed")
    failed = {name: tally.failures for name, tally in tallies.items() if tally.failures}
    assert not failed
    assert sum(tally.kinds["refused"] for tally in tallies.values()) > len(READERS)


def crash(folder):
    raise KeyError("x")


def take_memory(folder):
    """96 MiB of new pages: room that a process has freed and kept would be taken first."""
    pages = mmap.mmap(-1, 3 << 25)
    for place in range(0, len(pages), mmap.PAGESIZE):
        pages[place] = 1


def write_elsewhere(folder):
    (folder.parent / "outside").write_text("")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (crash, "KeyError"),
        (lambda folder: sum(iter(int, 1)), "of CPU"),
        (take_memory, "GiB"),
        (write_elsewhere, "written to"),
    ],
    ids=["traceback", "hang", "memory", "writes elsewhere"],
)
def test_each_kind_of_failure_is_noticed_and_its_input_kept(read, said, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "BYTES", 1 << 26)  # a GiB takes a busy machine over 2 s

    def prepare(folder):
        return Reader("x.bin", [b"seed"], "bytes", read)

    tally = fuzz("bad", prepare, 1, 0, tmp_path, tqdm(file=io.StringIO()))
    ((number, reason),) = tally.failures
    assert said in reason
    assert (tmp_path / f"bad-{number}.bin").read_bytes() == b"seed"


def test_categories_without_bound_are_refused_before_they_take_memory(tmp_path):
    path = tmp_path / "list.json"
    numbers = range(20_000)
    content = {
        "images": [{"id": k, "file_name": f"{k}.jpg"} for k in numbers],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0}],
        "categories": [{"id": k, "name": f"c{k}"} for k in numbers],
    }
    path.write_text(json.dumps(content))
    with refused("read 20000"):
        coco.read_instances(path, every_image=True)


def test_long_cells_are_parsed_at_once():
    assert parse_list("['a'," + "'b'," * 50_000 + "]") == ["a", *["b"] * 50_000]
    assert parse_list("array(" + ",dtype=x" * 50_000 + ")") is None


def test_a_header_that_python_would_parse_for_long_is_refused(tmp_path):
    path = tmp_path / "prior.npy"
    header = b"{'descr': '<f4', 'shape': (4, 3)" + b"\x8b" * 9000
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with refused("header"):
        read_prior(path, (4, 3))


def test_a_name_of_30_000_letters_in_a_file_of_weights_is_refused_at_once(tmp_path):
    torch.save({}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    name = b"\x80\x02ctorch\n_" + b"teild_" * 5000 + b"\n."
    (tmp_path / "a.pth").write_bytes(content.replace(b"\x80\x02}q\x00.", name, 1))
    began = time.process_time()
    with pytest.raises(ValueError, match="it holds something else"):
        tensor_files.load(tmp_path / "a.pth")
    assert time.process_time() - began < 1


def test_seconds_beyond_floats_count_as_no_result(tmp_path):
    (tmp_path / "config.json").write_text('{"options": {"total_epoch": 1}}')
    (tmp_path / "result.json").write_text('{"epoch": 1}')
    lines = ['{"seconds": 0.5}', f'{{"seconds": {10**400}}}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read_training(tmp_path) is None


def test_a_result_with_brackets_too_deep_counts_as_none(tmp_path):
    (tmp_path / "config.json").write_text('{"options": {}}')
    (tmp_path / "result.json").write_text("[" * 100_000)
    assert read_training(tmp_path) is None
