import subprocess
import sys

import pytest

from utils.errors import UserError
from utils.options.choices import LOSSES
from utils.options.command_line import parse_options
from utils.options.table import flags_of
from utils.options.training import SCRIPTS, TrainingOptions


def parse(*argv, script="main_CoNeS"):
    folder = ["--path_images", "Dataset"] if set(argv) & {"voc07", "coco"} else []
    return parse_options(script, [*folder, *argv])


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Make what the flags of these tests name, in the working folder."""
    (tmp_path / "Dataset" / "VOCdevkit").mkdir(parents=True)
    for name in ("a.csv", "x.pth", "n.npy"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


def test_defaults_are_the_paper_s_for_each_data_set(places):
    voc, coco = parse("--dataset", "voc07"), parse("--dataset", "coco")
    assert (voc.model, voc.lr, voc.lr_head, voc.batch_size) == ("resnet101", 0.01, 0.1, 16)
    assert (voc.step_epoch, coco.step_epoch) == (4, 5)
    assert (voc.r_ws, coco.r_ws) == (3.0, 2.0)
    assert (voc.num_heads, voc.lam, coco.num_heads, coco.lam) == (1, 0.1, 4, 0.5)
    assert (voc.tau, voc.clusters, voc.beta, voc.mu, voc.gamma) == (0.1, 5, 0.1, 0.99, 0.99)


def test_released_recipe_pools_and_has_one_learning_rate(places):
    options = parse("--dataset", "voc07", "--recipe", "released")
    assert (options.head, options.lr_head) == ("gap", options.lr)
    assert parse("--dataset", "voc07", "--recipe", "released", "--head", "csra").head == "csra"


def test_the_authors_commands_run_as_written(places, capsys):
    options = parse(
        *"--dataset voc07 --num_cls 20 --img_size 224/448 --batch_size 16 --partial_rate "
        "0.1/0.2/0.4 --path_images Dataset/VOCdevkit --r_ws 3".split()
    )
    assert (options.img_size, options.partial_rate, options.r_ws) == (224, 0.1, 3.0)
    assert "224/448 lists alternatives: taking the first, 224" in capsys.readouterr().err


def test_the_noise_of_own_labels_is_said_or_lies_in_a_file(places):
    flags = ["--dataset", "files", "--labels", "a.csv"]
    assert parse(*flags, "--noise_file", "n.npy").partial_rate is None
    with pytest.raises(SystemExit):
        parse(*flags, "--noise_file", "missing.npy")


@pytest.mark.parametrize(
    ("flags", "targets"),
    [
        ("--weights none --freeze --verified 5", "classifier"),
        ("--load_from x.pth", None),  # by whether images are verified
        ("--weights x.pth", None),
        ("--weights x.pth --verified 5", None),
        ("--weights x.pth --freeze", "neighbours"),
        ("--weights x.pth --prior n.npy", "neighbours"),
        ("--weights x.pth --ablate offset", "classifier"),
        ("--weights x.pth --targets classifier --freeze", "classifier"),
    ],
)
def test_targets_are_the_neighbours_of_a_trunk_that_is_not_trained_first(flags, targets, places):
    options = parse("--dataset", "digits", "--recipe", "posterior", *flags.split())
    assert options.targets == targets


def test_cutmix_means_weights(places):
    assert parse("--dataset", "coco", "--cutmix", "x.pth").weights == "x.pth"


@pytest.mark.parametrize(
    "argv",
    [
        ["--dataset", "files", "--partial_rate", "0.1"],
        ["--dataset", "files", "--labels", "a.csv"],
        ["--dataset", "voc07", "--labels", "a.csv"],
        ["--dataset", "voc07", "--load_from", "a.safetensors", "--weights", "none"],
        ["--dataset", "voc07", "--seed", "99999999999999999999"],
        ["--dataset", "voc07", "--partial_rate", "1.5"],
        ["--dataset", "voc07", "--r_ws", "1"],
        ["--dataset", "voc07", "--clusters", "5.0"],
        ["--dataset", "voc07", "--num_heads", "3"],
        ["--dataset", "voc07", "--cutmix", "a.pth", "--weights", "none"],
        ["--dataset", "voc07", "--total", "3"],
    ],
)
def test_bad_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_baselines_do_not_take_flags_that_would_do_nothing(capsys):
    with pytest.raises(SystemExit):
        parse("--dataset", "voc07", "--tau", "0.2", script="main_BCE")
    assert "--tau" in capsys.readouterr().err


def test_the_loss_of_a_baseline_is_bce_unless_it_is_said(places):
    options = parse("--dataset", "voc07", script="main_BCE")
    assert (options.loss, options.noise_rate) == ("bce", None)
    assert options.method == "bce"
    flags = "--loss bce-forward --noise_rate 0.25".split()
    options = parse("--dataset", "voc07", *flags, script="main_BCE")
    assert (options.loss, options.noise_rate) == ("bce-forward", 0.25)


def test_pml_cd_has_its_published_settings_on_a_trunk_that_is_trained_or_frozen(places):
    for dataset in ("voc07", "digits"):
        for freeze in ([], ["--freeze"]):
            flags = ["--dataset", dataset, "--loss", "pml-cd", *freeze]
            options = parse(*flags, script="main_BCE")
            assert (options.optimizer, options.head) == ("adam", "decoder")
            assert (options.lr, options.lr_head, options.w_d) == (1e-4, 1e-4, 5e-5)
            assert (options.batch_size, options.total_epoch, options.warmup_epoch) == (32, 40, 0)
    options = parse(*flags, "--lr", "0.001", script="main_BCE")
    assert (options.lr, options.lr_head) == (0.001, 0.001)
    bce = parse("--dataset", "digits", "--head", "decoder", script="main_BCE")
    assert (bce.optimizer, bce.lr, bce.total_epoch) == ("sgd", 0.05, 8)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--loss pml-cd --head gap", "--loss pml-cd is for --head decoder"),
        ("--loss pml-cd --momentum 0.8", "--momentum is for --optimizer sgd"),
    ],
)
def test_flags_that_do_not_fit_the_loss_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--dataset", "digits", *flags.split(), script="main_BCE")
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--recipe posterior --tau 0.2", "--tau is for --recipe paper and released"),
        ("--noise_rate 0.2", "--noise_rate is for --recipe posterior"),
        ("--ablate offset", "--ablate offset: --recipe paper can ablate screen_pixels, "),
        ("--recipe posterior --ablate offset scale", "--ablate scale: --recipe posterior can"),
        ("--recipe released --ablate scale", "--recipe released has nothing to ablate"),
    ],
)
def test_a_flag_that_would_do_nothing_in_the_recipe_is_refused(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--dataset", "digits", *flags.split())
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_says_what_each_loss_is(capsys):
    with pytest.raises(SystemExit):
        parse("--help", script="main_BCE")
    lines = capsys.readouterr().out.splitlines()
    for name in LOSSES:
        assert any(line.startswith(f"  {name} ") for line in lines)


@pytest.mark.parametrize("script", ["main_CoNeS.py", "main_BCE.py"])
def test_help_states_every_default_and_does_not_import_torch(script):
    code = (
        f"import runpy, sys; sys.argv = [{script!r}, '--help']\n"
        f"try:\n    runpy.run_path({script!r}, run_name='__main__')\n"
        "finally:\n    assert 'torch' not in sys.modules, 'torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "default 0.01" in done.stdout


def test_a_cache_that_cannot_be_made_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    flags = ["--dataset", "digits", "--cache", str(tmp_path / "file" / "cache")]
    with pytest.raises(UserError, match="^--cache .* cannot be made: .*/file is a file: give ano"):
        parse_options("main_BCE", flags)
    flags[-1] = str(tmp_path)
    assert parse_options("main_BCE", flags).cache == str(tmp_path)


def test_every_flag_says_what_it_is_and_belongs_to_a_script(capsys):
    known = {name for name, (_, flag) in flags_of(TrainingOptions).items() if flag.help}
    shown = set()
    for script in SCRIPTS:
        with pytest.raises(SystemExit):
            parse_options(script, ["--help"])
        out = capsys.readouterr().out
        shown |= {name for name in known if f"--{name} " in out or f"--{name}]" in out}
    assert shown == known == set(flags_of(TrainingOptions))
