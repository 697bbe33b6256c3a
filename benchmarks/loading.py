"""Decode and augment photos: this project's loading against PIL with float transforms.

Run: python -m benchmarks.loading [--path_images DIR]

One process, one thread; RandomResizedCrop to 0.7-1 of the area and a mirror image, at 224 and 448
px. "PIL, float" decodes by PIL and transforms float tensors; "PIL, then float" lets PIL transform
and makes the result a float tensor.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.timing import alternate, ratio
from pipeline.data.images import read_image
from pipeline.data.transforms import train_transform
from utils.options.table import OptionsParser

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "COCO2014" / "images"
COUNT = 128


def main() -> None:
    parser = OptionsParser(prog="python -m benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("--path_images", type=Path, default=PHOTOS, help="folder of photos")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    paths = [str(path) for path in sorted(arguments.path_images.rglob("*.jpg"))[:COUNT]]
    if not paths:
        print(f"skipped: no photos in {arguments.path_images}, give --path_images")
        return
    torch.set_num_threads(1)
    print(f"{len(paths)} photos, images a second, shortest of {arguments.repeats}")
    for img_size in (224, 448):
        seconds = measure(paths, img_size, arguments.repeats)
        ours = seconds["this project"]
        for name, taken in seconds.items():
            speed = len(paths) / taken
            print(f"{img_size} px  {name:<16} {speed:6.0f}   {taken / ours:.2f} x the time")
        times = seconds["PIL, float"] / ours
        ratio(f"decoding and augmenting at {img_size} px", "PIL and float transforms", times)


def measure(paths: list[str], img_size: int, repeats: int) -> dict[str, float]:
    """Shortest seconds that each way takes for all photos."""
    crop = v2.RandomResizedCrop(img_size, scale=(0.7, 1.0), antialias=True)
    flip, to_float = v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)
    on_floats = v2.Compose([v2.ToImage(), to_float, crop, flip])
    on_pil = v2.Compose([crop, flip, v2.ToImage(), to_float])
    ours = train_transform(img_size)
    ways: dict[str, Callable[[str], object]] = {
        "this project": lambda path: ours(read_image(path)),
        "PIL, float": lambda path: on_floats(Image.open(path).convert("RGB")),
        "PIL, then float": lambda path: on_pil(Image.open(path).convert("RGB")),
    }
    loops = [partial(load_all, way, paths) for way in ways.values()]
    return dict(zip(ways, alternate(*loops, repeats=repeats)))


def load_all(load: Callable[[str], object], paths: list[str]) -> None:
    for path in paths:
        load(path)


if __name__ == "__main__":
    main()
