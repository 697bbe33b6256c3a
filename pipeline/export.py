"""The classifier as an ONNX file, which runs without this project or torch."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.model.classifier import Classifier
from utils.errors import UserError
from utils.files import atomic_path

TOLERANCE = 1e-4  # of the largest value, or of 1 where all are smaller
BATCHES = (1, 3)  # that the file is checked with


class LogitsAndMaps(torch.nn.Module):
    """The two outputs that are exported."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and maps (B, C, H, W) of images (B, 3, S, S) uint8."""
        output = self.classifier(images)
        return output.logits, output.cams


def export_onnx(
    classifier: Classifier, img_size: int, path: Path, metadata: dict[str, Any]
) -> float:
    """Write `classifier` to `path`, once onnxruntime agrees with torch; the largest difference.

    Input "images" (B, 3, S, S) uint8 RGB, any B; the file normalises them itself. Outputs
    "logits" (B, C) and "cams" (B, C, H, W), float32.

    Args:
        classifier: in evaluation mode; moved to the CPU.
        img_size: S.
        path: of the .onnx.
        metadata: stored in the file, each value as JSON.

    Raises:
        UserError: a library is missing, the model cannot be expressed, or the results differ by
            more than 1e-4 of the largest.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--export needs {error.name}: python -m pip install -r requirements-export.txt"
        ) from error
    model = LogitsAndMaps(classifier.to("cpu", memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]
    images = torch.randint(0, 256, (max(BATCHES), 3, img_size, img_size), dtype=torch.uint8)
    with atomic_path(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the exporter's own deprecations
                for name in ("torch.onnx", "onnxscript"):
                    logging.getLogger(name).setLevel(logging.ERROR)
                program = torch.onnx.export(
                    model,
                    (images,),
                    dynamo=True,
                    verbose=False,
                    input_names=["images"],
                    output_names=["logits", "cams"],
                    dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                )
            program.model.metadata_props.update(  # type: ignore[union-attr]
                {name: json.dumps(value) for name, value in metadata.items()}
            )
            program.save(str(temporary), external_data=False)  # type: ignore[union-attr]
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(
                f"{path} cannot be written: the exporter does not know this trunk "
                f"({str(error).strip().splitlines()[0]})"
            ) from error
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        differences = []
        for batch in BATCHES:
            some = images[:batch]
            with torch.inference_mode():
                expected = [tensor.numpy() for tensor in model(some)]
            for own, other in zip(expected, session.run(None, {"images": some.numpy()})):
                largest = max(1.0, float(np.abs(own).max()))
                with np.errstate(invalid="ignore"):  # infinities: NaN, which is refused below
                    differences.append(np.abs(own - other).max() / largest)
        difference = float(np.max(differences))  # NaN if any is
        if not difference <= TOLERANCE:
            raise UserError(
                f"{path} is not written: onnxruntime differs from torch by {difference:.2g}, more "
                f"than {TOLERANCE:g}"
            )
    return difference
