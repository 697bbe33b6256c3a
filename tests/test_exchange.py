"""Reviews for other tools, and decisions from them."""

import json
import os
import xml.etree.ElementTree as ET
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import review
from pipeline.data.images import ImageFiles
from pipeline.data.labelled import LabelledImages
from pipeline.review.decisions import carry, merge, read_json
from pipeline.review.exchange import EXPORTS, Judged, as_content, export
from pipeline.review.reviewed_run import Photos
from tests.helpers import load_or_refuse, refused
from utils.options.table import flags_of

CLASSES = ["=sea", 'a "b" & <c>', "sky"]
NAMES = ["a & b/1.jpg", "ä?.jpg", "n/3.jpg"]
FOUND = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], np.uint8)
HASHES = ["0" * 16, "1" * 16, "2" * 16]


def judged(folder, images=None):
    images = ImageFiles(folder / "photos", NAMES) if images is None else images
    photos = Photos(LabelledImages(images, CLASSES, FOUND, NAMES), FOUND, 2)
    kept = FOUND.copy()
    kept[0, 1] = 0
    probability = FOUND * np.array([0.9, 0.25, 0.6])
    return Judged(photos, HASHES, "ab" * 16, probability, kept, np.full((3, 3), 0.3, np.float32))


def content_of(found, tmp_path, photos=None):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    os.utime(path, (0, 1_800_000_000))
    photos = photos or judged(tmp_path).photos
    return as_content(read_json(str(path)), str(path), photos, HASHES)


def decided(content):
    return carry(merge([content]), NAMES, HASHES, CLASSES, FOUND)


def test_each_tool_that_can_be_named_has_a_writer():
    _, flag = flags_of(review.ReviewOptions)["export"]
    assert set(flag.kind.values) == set(EXPORTS)


def test_label_studio_gets_tasks_with_a_prediction_each(tmp_path, capsys):
    tasks_file, interface_file = export(["label-studio"], tmp_path, judged(tmp_path))
    printed = capsys.readouterr().out.splitlines()
    assert f"LOCAL_FILES_DOCUMENT_ROOT={tmp_path} label-studio" in printed[0]
    assert printed[1].split() == ["local", "files", str(tmp_path / "photos")]  # never the root
    tasks = json.loads(tasks_file.read_text())
    for task, name, sha in zip(tasks, NAMES, HASHES, strict=True):
        assert set(task) == {"data", "predictions"}  # as its documentation asks for
        address = urlsplit(task["data"]["image"])
        assert address.path == "/data/local-files/"
        assert parse_qs(address.query)["d"] == [f"photos/{name}"]
        assert (task["data"]["path"], task["data"]["sha256"]) == (name, sha)
        (prediction,) = task["predictions"]
        assert set(prediction) == {"model_version", "score", "result"}
        (result,) = prediction["result"]
        assert (result["from_name"], result["to_name"], result["type"]) == (
            "labels",
            "image",
            "choices",
        )
    assert [task["predictions"][0]["score"] for task in tasks] == [0.25, 0.6, 0.6]
    choices = [task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks]
    assert choices == [["=sea"], ["sky"], ["=sea", "sky"]]
    interface = ET.parse(interface_file).getroot()
    assert [choice.get("value") for choice in interface.iter("Choice")] == CLASSES
    tag = interface.find("Choices")
    assert (tag.get("name"), tag.get("toName"), tag.get("choice")) == (
        "labels",
        "image",
        "multiple",
    )
    assert interface.find("Image").get("value") == "$image"


def annotation(*choices, **more):
    """An annotation as Label Studio exports it; without a choice there is no result."""
    result = {"from_name": "labels", "to_name": "image", "type": "choices", "id": "x"}
    head = {"id": 1, "was_cancelled": False, "ground_truth": False, "completed_by": 7}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-11-29T01:02:03.123456Z")
    results = [result | {"value": {"choices": list(choices)}}] if choices else []
    return head | times | {"result": results} | more


def test_what_label_studio_s_annotators_submitted_verifies_photos(tmp_path):
    tasks = json.loads(export(["label-studio"], tmp_path, judged(tmp_path))[0].read_text())
    tasks[0]["annotations"] = [annotation("=sea", "sky"), annotation("sky", was_cancelled=True)]
    elsewhere = {"updated_at": "2026-11-29T01:02:03.5+02:00"}
    tasks[1]["annotations"] = [
        annotation(completed_by={"id": 2, "email": "ann@example.org"}),
        annotation(completed_by=None, **elsewhere),
    ]
    content = content_of(tasks, tmp_path)
    names = [record["by"] for record in content["verified"]]
    assert names == ["Label Studio 7", "Label Studio ann@example.org", "Label Studio"]
    assert content["verified"][2]["at"] == "2026-11-28T23:02:03.500000Z"
    found = decided(content)
    assert found.verified.tolist() == [True, True, False]
    assert found.decided[:2].tolist() == [[1, 0, 1], [0, 0, 0]]


def test_fiftyone_gets_a_dataset_and_its_tags_decide(tmp_path):
    (path,) = export(["fiftyone"], tmp_path, judged(tmp_path))
    dataset = json.loads(path.read_text())
    needed = {"name", "media_type", "sample_fields", "classes", "samples"}  # by from_dict
    assert set(dataset) == needed
    assert dataset["media_type"] == "image"
    samples = dataset["samples"]
    fields = {"filepath", "tags", *dataset["sample_fields"]}
    assert all(set(sample) == fields for sample in samples)
    assert [sample["tags"] for sample in samples] == [["train"], ["train"], ["test"]]
    assert samples[0]["filepath"] == str(tmp_path / "photos" / NAMES[0])
    labels = samples[0]["labels"]
    assert labels["_cls"] == "Classifications"
    assert labels["classifications"][1] == {
        "_cls": "Classification",
        "label": CLASSES[1],
        "confidence": 0.25,
        "tags": ["dropped"],
    }
    labels["classifications"][1]["tags"].append("false")
    samples[1]["tags"].append("verified")
    samples[1]["labels"]["classifications"].append({"label": "=sea", "confidence": None})
    samples[2]["labels"]["classifications"][0]["tags"] = ["true", "false"]  # says nothing
    content = content_of(dataset, tmp_path)
    found = decided(content)
    assert found.verified.tolist() == [False, True, False]
    assert found.decided.tolist() == [[-1, 0, -1], [1, 0, 1], [-1, -1, -1]]
    assert content["decisions"][0]["at"] == "2027-01-15T08:00:00Z"  # the file's time


def test_cleanlab_takes_labels_and_probabilities_and_its_corrections_are_decisions(tmp_path):
    filters = pytest.importorskip("cleanlab.multilabel_classification.filter")
    own = pytest.importorskip("cleanlab.internal.multilabel_utils")
    random = np.random.default_rng(0)
    truth = (random.random((300, 3)) < 0.4).astype(np.uint8)
    found = truth ^ (random.random((300, 3)) < 0.05)
    names = [f"{row}.jpg" for row in range(300)]
    data = LabelledImages([None] * 300, CLASSES, found, names)
    photos = Photos(data, found, 300)
    scores = (0.05 + 0.55 * truth + 0.35 * random.random((300, 3))).astype(np.float32)
    review = Judged(photos, [""] * 300, "ab", found * scores, found, scores)
    labels_file, scores_file = export(["cleanlab"], tmp_path, review)
    labels, scores = json.loads(labels_file.read_text()), np.load(scores_file)
    issues = filters.find_multilabel_issues_per_class(labels, scores, n_jobs=1)
    assert issues.shape == found.shape
    assert issues.sum() > 20
    assert (found != truth)[issues].mean() > 0.9
    doubtful = filters.find_label_issues(labels, scores, n_jobs=1)
    assert (found != truth)[doubtful].any(axis=1).mean() > 0.9
    one_hot = own.int2onehot(labels, K=3)
    assert (one_hot == found).all()
    path = tmp_path / "corrected.json"
    path.write_text(json.dumps(own.onehot2int(one_hot ^ issues)))
    content = as_content(read_json(str(path)), str(path), photos, [""] * 300)
    assert len(content["decisions"]) == issues.sum()
    taken = carry(merge([content]), names, [""] * 300, CLASSES, found)
    assert (taken.applied(found) == (found ^ issues)).all()


def test_corrections_may_be_of_the_training_photos_alone(tmp_path):
    content = content_of([[0, 1], [2, 0]], tmp_path)
    assert [(r["path"], r["label"], r["true"]) for r in content["decisions"]] == [
        (NAMES[1], "=sea", True)
    ]


def test_label_studio_s_own_package_takes_the_tasks_and_its_annotations_are_read(tmp_path):
    studio = pytest.importorskip("label_studio_sdk.label_interface")
    values = pytest.importorskip("label_studio_sdk.label_interface.objects")
    converter = pytest.importorskip("label_studio_sdk.converter.converter")
    tasks_file, interface_file = export(["label-studio"], tmp_path, judged(tmp_path))
    interface = studio.LabelInterface(interface_file.read_text())
    interface.validate()
    assert interface.get_control("labels").labels == CLASSES
    tasks = json.loads(tasks_file.read_text())
    for task in tasks:
        values.TaskValue(**task)
        assert interface.validate_task({"data": task["data"]})
        assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []
    no_class = annotation("dog")
    assert not interface.validate_prediction(no_class)  # it does tell

    answers = [["=sea", CLASSES[1]], ["=sea", "sky"], ["sky"]]
    for number, (task, labels) in enumerate(zip(tasks, answers, strict=True)):
        regions = interface.create_regions({"labels": labels})
        made = values.AnnotationValue(completed_by=7, result=regions).model_dump()
        assert interface.validate_annotation(made)
        task |= {"id": number, "annotations": [annotation() | made]}
    found = decided(content_of(tasks, tmp_path))
    assert found.verified.all()
    assert found.decided.tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 1]]

    # What its own converter makes of the same file.
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    convert = converter.Converter(interface_file.read_text(), str(tmp_path))
    convert.convert(str(tmp_path / "tasks.json"), str(tmp_path), "JSON_MIN", is_dir=False)
    rows = json.loads((tmp_path / "result.json").read_text())
    chosen = [row["labels"] for row in rows]
    chosen = [labels["choices"] if isinstance(labels, dict) else [labels] for labels in chosen]
    assert [row["path"] for row in rows] == NAMES
    assert chosen == answers


def test_fiftyone_itself_loads_the_dataset_and_what_it_writes_is_read(tmp_path, monkeypatch):
    for name, value in {"DATABASE_DIR": tmp_path / "database", "DO_NOT_TRACK": "true"}.items():
        monkeypatch.setenv(f"FIFTYONE_{name}", str(value))
    fiftyone = pytest.importorskip("fiftyone")
    (path,) = export(["fiftyone"], tmp_path, judged(tmp_path))
    dataset = fiftyone.Dataset.from_json(str(path))
    assert dataset.media_type == "image"
    assert dataset.classes == {"labels": CLASSES}
    first, second, third = dataset
    assert [sample.image_id for sample in (first, second, third)] == NAMES
    assert first.filepath == str(tmp_path / "photos" / NAMES[0])
    assert isinstance(first.labels, fiftyone.Classifications)
    of_first = [
        (label.label, label.confidence, label.tags) for label in first.labels.classifications
    ]
    assert of_first == [("=sea", 0.9, ["kept"]), (CLASSES[1], 0.25, ["dropped"])]
    assert dataset.count_sample_tags() == {"train": 2, "test": 1}
    assert dataset.count_label_tags() == {"kept": 4, "dropped": 1}

    first.labels.classifications[1].tags.append("false")
    first.save()
    second.labels.classifications.append(fiftyone.Classification(label="=sea"))
    second.save()
    dataset.select(second.id).tag_samples("verified")
    dataset.select(third.id).filter_labels(
        "labels", fiftyone.ViewField("label") == "sky"
    ).tag_labels("true")
    dataset.write_json(str(tmp_path / "back.json"))
    dataset.export(
        export_dir=str(tmp_path / "exported"),
        dataset_type=fiftyone.types.FiftyOneDataset,
        export_media=False,
    )
    dataset.delete()
    for written in ("back.json", "exported/samples.json"):
        content = content_of(read_json(str(tmp_path / written)), tmp_path)
        found = decided(content)
        assert found.verified.tolist() == [False, True, False]
        assert found.decided.tolist() == [[-1, 0, -1], [1, 0, 1], [-1, -1, 1]]


def test_photos_that_other_tools_cannot_name_are_left_out(tmp_path, capsys):
    names = ["n/lone \udcff.jpg", *NAMES[1:]]
    found = judged(tmp_path, ImageFiles(tmp_path / "photos", names))
    written = export(["label-studio", "fiftyone", "cleanlab"], tmp_path, found)
    tasks, _, dataset, labels, _ = (
        json.loads(path.read_text()) if path.suffix == ".json" else None for path in written
    )
    assert [task["data"]["path"] for task in tasks] == NAMES[1:]
    assert [task["predictions"][0]["score"] for task in tasks] == [0.6, 0.6]
    assert [sample["image_id"] for sample in dataset["samples"]] == NAMES[1:]
    assert [len(sample["labels"]["classifications"]) for sample in dataset["samples"]] == [1, 2]
    assert len(labels) == 3
    assert "left out            1 photos" in capsys.readouterr().out
    nowhere = judged(tmp_path, ImageFiles(tmp_path / "\udcff", NAMES))
    with refused("needs paths in UTF-8, but found none"):
        export(["fiftyone"], tmp_path, nowhere)


def test_photos_in_memory_are_shown_by_no_tool(tmp_path):
    found = judged(tmp_path, torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    export(["cleanlab"], tmp_path, found)
    with refused("needs files: this data set has none"):
        export(["fiftyone"], tmp_path, found)


@pytest.mark.parametrize(
    "found",
    [
        [[0]],
        [[0], [3]],
        [[0], [-1]],
        [[0], ["a"]],
        [{"data": {}}],
        [{"data": {"path": "a", "sha256": ""}, "annotations": [{}]}],
        [{"data": {"path": 3, "sha256": ""}, "annotations": [annotation("sky")]}],
        [{"data": {"path": "a", "sha256": ""}, "annotations": [annotation(updated_at="now")]}],
        {"samples": [{}]},
        {"samples": 3},
        [3],
        "text",
    ],
)
def test_damaged_files_are_refused_in_a_line(found, tmp_path):
    with refused("found.json must be the review.json .* Label Studio, FiftyOne or cleanlab"):
        content_of(found, tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["samples", "data", "path", "annotations", "result", "verified", "labels"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_taken_or_refused(tmp_path_factory, found):
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.json").write_text(json.dumps(found))
    path = str(folder / "any.json")
    load_or_refuse(as_content, read_json(path), path, judged(folder).photos, HASHES)
