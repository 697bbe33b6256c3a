"""Lists that a library reads: Excel's workbooks, and Parquet, whose images are unpacked."""

import contextlib
import importlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.lists.columns import find_columns
from pipeline.data.lists.delimited import Records
from pipeline.data.lists.names import is_line
from utils import distributed
from utils.errors import UserError
from utils.files import atomic_path

MARK = "unpacked-from.txt"  # in a folder of unpacked images: the file that they come from
SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"GI": ".gif", b"BM": ".bmp"}

# A workbook may unpack to 8 MiB, or so many times its size. Between cells openpyxl makes empty ones
# of its own: half a million at most, or of larger workbooks one for each byte.
SMALL, BYTES_A_BYTE, CELLS = 1 << 23, 100, 500_000


def library(name: str, path: Path) -> Any:
    """Import an optional library.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UserError(
            f"{path} needs {package}: python -m pip install -r requirements-lists.txt"
        ) from error


@contextlib.contextmanager
def undamaged(path: Path, what: str) -> Iterator[None]:
    """Say in one line that a file is damaged, for which libraries raise of any kind."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path} must be {what}, but cannot be read: {reason}") from error


def workbook(path: Path, given: Mapping[str, str]) -> Records:
    """The records of the first sheet of a workbook whose columns are understood.

    Raises:
        UserError: openpyxl is missing, or the file is none.
    """
    openpyxl = library("openpyxl", path)
    with undamaged(path, "an Excel workbook"), zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > max(SMALL, BYTES_A_BYTE * path.stat().st_size):
            raise ValueError(f"it unpacks to {size >> 20} MiB")

    def rows(number: int) -> Iterator[list[str]]:
        with undamaged(path, "an Excel workbook"):
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            sheet = book.worksheets[number]
            sheet.reset_dimensions()  # some programs write wrong ones
            cells = 0
            for row in sheet.iter_rows(values_only=True):
                cells += 1 + len(row)
                if cells > max(CELLS, size):
                    raise ValueError("its cells lie too far apart")
                yield [text_of(cell) for cell in row]
            book.close()

    with undamaged(path, "an Excel workbook"):
        book = openpyxl.load_workbook(path, read_only=True)
        titles = [sheet.title for sheet in book.worksheets]
        book.close()
    headers = [next(filter(any, rows(number)), []) for number in range(len(titles))]
    fit = [number for number, names in enumerate(headers) if find_columns(names, given)]
    chosen = fit[0] if fit else 0
    names = headers[chosen] if headers else []

    def read() -> Iterator[tuple[str, list[str]]]:
        begun = False
        for line, cells in enumerate(rows(chosen), 1):
            if begun and any(map(str.strip, cells)):
                yield f"{path}, row {line}", [*cells, *[""] * (len(names) - len(cells))]
            begun = begun or any(cells)

    more = "" if len(titles) == 1 else f", of {len(titles)}"
    return Records(f"Excel sheet {titles[chosen][:30]!r}{more}" if titles else "Excel", names, read)


def text_of(value: Any) -> str:
    """A cell as text: whole numbers without a point, nothing for no value and for nan."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def parquet(path: Path) -> tuple[Records, str | None]:
    """The records of a Parquet file, and the column that holds images, if one does.

    In that column they have the names of the files that `unpack` makes. Numbers that Hugging Face's
    metadata names are labels of these names.

    Raises:
        UserError: pyarrow is missing, or the file is none.
    """
    with undamaged(path, "a Parquet file"):
        file = open_parquet(path)
        image = image_column(file)
        names = list(file.schema_arrow.names)
        features = features_of(file.schema_arrow.metadata or {})
        labels = {name: classes_of(features.get(name)) for name in names}

    def read() -> Iterator[tuple[str, list[Any]]]:
        others = [name for name in names if name != image]
        row = 0
        with undamaged(path, "a Parquet file"):
            files = None if image is None else image_names(file, image)
            for batch in file.iter_batches(1024, columns=others):
                columns = {name: batch.column(name).to_pylist() for name in others}
                for place in range(batch.num_rows):
                    values = {
                        name: named(column[place], labels[name]) for name, column in columns.items()
                    }
                    if image is not None and files is not None:
                        values[image] = next(files)
                    yield f"{path}, row {row}", [values[name] for name in names]
                    row += 1

    return Records(
        "Parquet" + (f" with images in {image[:30]!r}" if image else ""), names, read
    ), image


def open_parquet(path: Path) -> Any:
    return library("pyarrow.parquet", path).ParquetFile(path)


def images_folder(path: Path) -> Path | None:
    """The folder beside a Parquet file that its images are unpacked to; None where it has none."""
    if path.suffix.lower() != ".parquet" or not path.is_file() or parquet(path)[1] is None:
        return None
    return path.with_name(f"{path.stem}-images")


def image_column(file: Any) -> str | None:
    """The column of a Parquet file that holds the content of images."""
    types = library("pyarrow", Path()).types
    for field in file.schema_arrow:
        kind = field.type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if types.is_binary(kind) or types.is_large_binary(kind):
            return str(field.name)
    return None


def features_of(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read what Hugging Face's datasets says of the columns of its Parquet files."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return dict(json.loads(metadata[b"huggingface"])["info"]["features"])
    return {}


def classes_of(feature: Any) -> list[str] | None:
    """The names of a feature that is a class's number, or a list of such."""
    if isinstance(feature, list) and feature:
        return classes_of(feature[0])
    if not isinstance(feature, dict):
        return None
    names = feature.get("names")
    return list(map(str, names)) if isinstance(names, list) else classes_of(feature.get("feature"))


def named(value: Any, classes: Sequence[str] | None) -> Any:
    """A value as text, or a list of texts; numbers of `classes` by name, of which -1 means none."""
    if classes is not None and not isinstance(value, str):
        numbers = value if isinstance(value, list) else [value]
        return [classes[number] for number in numbers if number not in (None, -1)]
    return value if isinstance(value, list) else text_of(value)


def image_names(file: Any, image: str) -> Iterator[str]:
    """Names of the files that images are unpacked to: the row, and the name that the list has."""
    suffix = SUFFIXES.get(next(contents_of(file, image, 1), b"")[:2], "")
    kind = file.schema_arrow.field(image).type
    has_path = hasattr(kind, "get_field_index") and kind.get_field_index("path") >= 0
    row = 0
    for batch in file.iter_batches(1024, columns=[f"{image}.path" if has_path else image]):
        for value in batch.column(0).to_pylist():
            own = str((value or {}).get("path") or "") if has_path else ""
            base = own.replace("\\", "/").rsplit("/", 1)[-1].strip()
            yield f"{row:06}-{base}" if base and is_line(base) else f"{row:06}{suffix}"
            row += 1


def contents_of(file: Any, image: str, rows: int = 64) -> Iterator[bytes]:
    """The contents of a column of images, row by row."""
    for batch in file.iter_batches(rows, columns=[image]):
        for value in batch.column(0).to_pylist():
            content = value.get("bytes") if isinstance(value, dict) else value
            yield content or b""


def unpack(path: Path, folder: Path) -> None:
    """Write the images of a Parquet file to `folder`, unless they are there.

    Raises:
        UserError: other files are in the folder.
    """
    with undamaged(path, "a Parquet file"), distributed.local_rank0_first():
        status = path.stat()
        source, mark = f"{path.name} {status.st_size} {status.st_mtime_ns}", folder / MARK
        if mark.is_file() and mark.read_text("utf-8") == source:
            return
        if folder.is_dir() and any(folder.iterdir()) and not mark.is_file():
            raise UserError(
                f"the images of {path} are unpacked to {folder}, which holds other files: give an "
                "empty folder by --path_images"
            )
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text("unfinished", "utf-8")
        file = open_parquet(path)
        image = str(image_column(file))
        for name, content in zip(image_names(file, image), contents_of(file, image)):
            if content:
                (folder / name).write_bytes(content)
        with atomic_path(mark) as temporary:
            temporary.write_text(source, "utf-8")
