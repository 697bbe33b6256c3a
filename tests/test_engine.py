import copy
import os
import signal

import numpy as np
import pytest
import torch

from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.baselines.pml_cd import PMLCD, read_network
from pipeline.cones.method import CoNeS
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import EvaluationImages, TrainingImages, evaluation_loader, train_loader
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import evaluation_transform, train_transform
from pipeline.engine import LossTotals, Training, fit, load_optimizer, train_one_epoch
from pipeline.inference import evaluate, predict_scores
from pipeline.model.backbone import Backbone
from pipeline.model.classifier import Classifier
from pipeline.model.decoder import Decoder
from pipeline.model.heads import CSRA
from pipeline.optimisation import make_optimizer, step_schedule
from tests.helpers import PAPER
from utils.errors import UserError
from utils.progress import Interrupted
from utils.run_folder import RunFolder

DATA = {"fingerprint": "x"}


def make_data():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = (torch.rand(20, 4, generator=generator) < 0.5).numpy().astype(np.int8)
    return LabelledImages(pixels, list("abcd"), targets, np.arange(20).astype(str))


def make_training(method="cones", lr=0.05, seed=3):
    data = make_data()
    torch.manual_seed(seed)
    # A trunk with dropout: what it draws must survive a break in the middle of an epoch.
    trunk = Backbone("test_resnet", 32)
    trunk.model.layer4.append(torch.nn.Dropout(0.3))
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, 4, 1, 0.1))
    rows, chosen = CandidateRows.from_dense(data.targets), Stateless(bce_loss)
    if method == "cones":
        chosen = CoNeS(rows, trunk.feature_dim, **PAPER | {"clusters": 2})
    elif method == "pml-cd":
        classifier = Classifier(trunk, Decoder(trunk.feature_dim, 4))
        chosen = PMLCD(rows, read_network(), warm_up=1)
    elif method == "decoder":
        classifier = Classifier(trunk, Decoder(trunk.feature_dim, 4))
        classifier.head.prototypes.requires_grad_(False)  # no other loss reaches them
    name = "adam" if method in ("pml-cd", "decoder") else "sgd"
    optimizer = make_optimizer(classifier, lr, lr, momentum=0.9, weight_decay=0, name=name)
    settings = {"schedule": step_schedule(1, 2), "device": torch.device("cpu"), "seed": seed}
    training = Training(
        classifier=classifier, method=chosen, optimizer=optimizer, rows=rows, **settings
    )
    dataset = TrainingImages(data.images, train_transform(32, True), seed)
    return training, train_loader(dataset, 4, 0, False)


def batches_of(size):
    images = EvaluationImages(make_data().images, evaluation_transform(32))
    return evaluation_loader(images, size, 0, False)


def run_to(epochs, folder, stop_at=None, resume=False, **kwargs):
    """Train to `epochs`; stop as Ctrl-C would after `stop_at` calls of the method's loss."""
    training, loader = make_training(**kwargs)
    if resume:
        run, state = RunFolder.reopen(folder, {}, DATA)
        training.load_state_dict(state)
    else:
        run = RunFolder.create(folder, {"script": "s", "dataset": "d"}, DATA)
    batches, targets = batches_of(8), make_data().targets

    def score(stop):
        return evaluate(training.classifier, batches, targets, training.device, stop=stop)

    calls, loss = [], training.method.loss

    def counted_loss(*arguments):
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(*arguments)

    training.method.loss = counted_loss
    fit(training, loader, score, run, epochs)
    return training, run


def assert_same(first, second):
    """Compare two trainings with their runs: weights, the method's state and what was recorded."""
    (first, whole), (second, rest) = first, second
    for a, b in zip(
        first.classifier.state_dict().values(), second.classifier.state_dict().values()
    ):
        assert torch.equal(a, b)
    torch.testing.assert_close(
        first.method.state_dict(), second.method.state_dict(), rtol=0, atol=0
    )
    assert without_times(whole.history) == without_times(rest.history)


def without_times(history):
    return [{k: v for k, v in line.items() if "second" not in k} for line in history]


@pytest.mark.parametrize(
    ("method", "stop_at"),
    [("cones", 1), ("cones", 5), ("cones", 7), ("cones", 10), ("pml-cd", 12), ("decoder", 7)],
)
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(method, stop_at, tmp_path):
    with pytest.raises(Interrupted):
        run_to(3, tmp_path / "broken", stop_at=stop_at, method=method)
    resumed = run_to(3, tmp_path / "broken", resume=True, method=method)
    assert_same(run_to(3, tmp_path / "whole", method=method), resumed)


@pytest.mark.parametrize(
    ("method", "change", "found"),
    [
        ("pml-cd", lambda s: s["state"][0].update(exp_avg_sq=torch.zeros(3)), "exp_avg_sq"),
        (
            "pml-cd",
            lambda s: [values.update(step=torch.ones(2)) for values in s["state"].values()],
            "step",
        ),
        ("cones", lambda s: s["state"][0].update(momentum_buffer=None), "state for some weights"),
        ("cones", lambda s: s["state"].pop(0), "state for some weights"),
        ("cones", lambda s: s["param_groups"][0]["params"].insert(0, None), "of other weights"),
    ],
)
def test_an_optimiser_with_a_damaged_state_is_refused(method, change, found):
    training, loader = make_training(method)
    train_one_epoch(training, loader, lambda: False)
    state = copy.deepcopy(training.optimizer.state_dict())
    change(state)
    with pytest.raises(ValueError, match=f"the optimiser .*{found}"):
        load_optimizer(training.optimizer, state)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(epoch=None),
        lambda state: state.update(step=-1),
        lambda state: state["totals"].update(images=0.5),
        lambda state: state["totals"].update(images=0),
        lambda state: state["totals"]["sums"].clear(),
        lambda state: state["totals"].update(first_bad_step=torch.zeros(2, dtype=torch.long)),
    ],
)
def test_a_damaged_position_is_refused(change):
    training, loader = make_training()
    with pytest.raises(Interrupted):
        train_one_epoch(training, loader, lambda: True)
    state = training.state_dict()
    change(state)
    with pytest.raises(ValueError, match="after step|totals|losses"):
        make_training()[0].load_state_dict(state)


def test_a_break_while_an_epoch_is_saved_loses_that_epoch_only(tmp_path, monkeypatch):
    whole, save = run_to(3, tmp_path / "whole"), RunFolder.save_checkpoint

    def breaking_save(self, training):
        if len(self.history) == 2:
            raise OSError("power cut")
        save(self, training)

    monkeypatch.setattr(RunFolder, "save_checkpoint", breaking_save)
    with pytest.raises(OSError, match="power cut"):
        run_to(3, tmp_path / "broken")
    monkeypatch.undo()
    assert_same(whole, run_to(3, tmp_path / "broken", resume=True))
    assert len((tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_non_finite_loss_is_named_and_nothing_is_stored(tmp_path):
    training, loader = make_training(method="bce")
    loss = training.method.loss

    def poisoned(*arguments):
        value = loss(*arguments)["loss"]
        return {"loss": value * (float("nan") if training.step == 2 else 1)}

    training.method.loss = poisoned
    run = RunFolder.create(tmp_path / "run", {}, DATA)
    with pytest.raises(UserError, match="non-finite in epoch 1 at step 3: lower --lr; what was"):
        fit(training, loader, lambda stop: {}, run, 2)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_totals_average_over_images():
    totals = LossTotals()
    totals.add({"loss": torch.tensor(1.0), "part": torch.tensor(4.0)}, images=3, step=1)
    totals.add({"loss": torch.tensor(5.0), "part": torch.tensor(0.0)}, images=1, step=2)
    assert totals.means(epoch=1) == {"train_loss": 2.0, "part": 3.0}


def test_evaluation_changes_nothing_and_does_not_depend_on_the_batch_size():
    training, _ = make_training()
    before = {key: value.clone() for key, value in training.classifier.state_dict().items()}
    scores = [
        predict_scores(training.classifier, batches_of(size), training.device) for size in (3, 20)
    ]
    np.testing.assert_array_equal(*scores)
    for key, value in training.classifier.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_checkpoint_holds_weights_momentum_method_state_and_nothing_else_large(tmp_path):
    training, _ = run_to(1, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    weights = sum(value.nbytes for value in training.classifier.state_dict().values())
    momentum = sum(value.nbytes for value in training.classifier.parameters())
    memory = training.method.memory.rows.nbytes
    size = (tmp_path / "run" / "last.pt").stat().st_size
    assert size < weights + momentum + memory + 200_000
    assert {"classifier", "optimizer", "method", "history"} <= set(state)


def test_the_learning_rate_is_the_schedule_s(tmp_path):
    _, run = run_to(4, tmp_path / "run", method="bce", lr=0.1)
    # One epoch of warm-up (5 steps, the last at 4/5), and x 0.1 after every two.
    assert [line["lr"] for line in run.history] == pytest.approx([0.08, 0.1, 0.01, 0.01])


def test_a_step_has_the_candidates_of_its_images():
    training, loader = make_training()
    targets, loss, seen = torch.from_numpy(make_data().targets), training.method.loss, []

    def checked_loss(output, candidates, index):
        assert torch.equal(candidates, targets[index].float())
        seen.extend(index.tolist())
        return loss(output, candidates, index)

    training.method.loss = checked_loss
    train_one_epoch(training, loader, lambda: False)
    assert sorted(seen) == list(range(20))


def test_an_epoch_visits_every_step(tmp_path):
    training, loader = make_training(method="bce")
    means = train_one_epoch(training, loader, lambda: False)
    assert training.step == 5
    assert training.totals.images == 20
    assert means["images_per_second"] == pytest.approx(20 / means["seconds"])
