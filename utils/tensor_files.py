"""Files of tensors: .safetensors, and torch's own, read without running any code of theirs."""

import hashlib
import json
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

LONGEST_NAME = 200  # of what a tensor needs, and its module
DIGEST = "sha256"  # in the metadata of a .safetensors file, of what `digest` covers


def load(path: Path, mmap: bool = False) -> Any:
    """Load what the file holds, on the CPU.

    Args:
        path: of a .safetensors file, or of one that torch.save wrote.
        mmap: leave tensors on the disk until they are read; torch's own alone.

    Raises:
        Exception: it cannot be read, has changed since it was written, or holds something else;
            parsers of damaged or hostile files raise of any kind.
    """
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get(DIGEST)
        content = safetensors.torch.load_file(path)
        if expected is not None and expected != digest(content):
            raise ValueError("it has changed since it was written")
        return content
    refuse_hostile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd pickles, which are refused in one line
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def copy_stored(tensor: torch.Tensor, stored: Any) -> None:
    """Copy what a checkpoint holds into the tensor that it was stored from, on any device.

    Raises:
        ValueError: it is no tensor of that shape, of which torch would copy some all over it.
    """
    if not isinstance(stored, torch.Tensor) or stored.shape != tensor.shape:
        raise ValueError(f"something else than a tensor of {tuple(tensor.shape)}")
    tensor.copy_(stored)


def stored_count(value: Any) -> int:
    """Return a count that a checkpoint holds; raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{str(value)[:20]!r} instead of a count")
    return value


def safetensors_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The content of a .safetensors file that tells whether it has changed."""
    content = {key: value.contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(content, {DIGEST: digest(content)})


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    result = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].cpu().contiguous()
        result.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        result.update(value.flatten().view(torch.uint8).numpy().data)
    return result.hexdigest()


class Bounded:
    """A file of which nobody asks for more bytes than it has: room is made for all at once.

    Args:
        file: open for reading.
        size: in bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise ValueError("it is cut off")
        return self.file.read(count)


def refuse_hostile(path: Path) -> None:
    """Raise ValueError for a file that grows when it is read, or names what no tensor needs.

    torch runs none of its code, but would take the memory: for an archive's packed entries, or
    for a bytearray of any length. Nor does it check an archive's checksums.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":  # what torch itself goes by
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > path.stat().st_size:
                    raise ValueError("its entries unpack to more than the file holds")
                if archive.testzip() is not None:
                    raise ValueError("it has changed since it was written")
                texts = [archive.read(e) for e in entries if e.filename.endswith("data.pkl")]
            streams: list[Any] = texts
        else:  # torch before 1.6: magic number, version, system, and then the content
            file.seek(0)
            streams = [Bounded(file, path.stat().st_size)] * 4
        try:
            opcodes = [opcode for stream in streams for opcode in pickletools.genops(stream)]
        except Exception as error:
            raise ValueError("it is empty, cut off, or of another form") from error
    for opcode, argument, _ in opcodes:
        module = str(argument).split(" ")[0] if opcode.name == "GLOBAL" else "torch"
        known = module.split(".")[0] in ("torch", "collections")
        # Torch looks at a name that it does not know for long, at one of 30,000 letters 20 seconds.
        known = known and (opcode.name != "GLOBAL" or len(str(argument)) <= LONGEST_NAME)
        if not known or opcode.name in ("STACK_GLOBAL", "INST"):
            raise ValueError("it holds something else")
