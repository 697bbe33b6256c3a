"""Find the candidate labels that are probably false, clean them, and review them on a page."""

import dataclasses
import functools
import itertools
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.errors import UserError, exit_status
from utils.options.groups import CheckpointOptions, MachineOptions
from utils.options.kinds import COUNT, NATURAL, SHARE, SWITCH, Choice, Number
from utils.options.table import OptionsParser, check_inputs, option, parse

if TYPE_CHECKING:
    import numpy as np

    from pipeline.review.candidate_posterior import Decisions
    from pipeline.review.decisions import Carried, Content
    from pipeline.review.reviewed_run import Photos, ReviewedRun
    from pipeline.review.scan import Entries, Scan
    from utils.options.training import TrainingOptions

DESCRIPTION = (
    "Say of every training image and candidate of a run how likely it is true, drop those that are "
    "probably false, and write labels.csv, the labels kept, a summary and review.html, a page to "
    "look at the photos and correct the decisions. What the page exports becomes labels to train "
    "on by --apply; --again does that, trains anew and reviews the new run."
)
EXPORTED = "review.json, as exported by the page"
decided_flag = functools.partial(
    option, group="what people decided", metavar="FILE", shown="", many="+", reads=EXPORTED
)
decision_flag = functools.partial(option, group="decision")
moved_flag = functools.partial(
    option, group="data, where it has moved since the run", shown="default: the run's"
)


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """The run to review, and what to do."""

    load_from: str = option(
        None, "a run's folder", metavar="RUN", shown="needed", reads="a run's folder"
    )
    verify: int | None = option(
        None,
        "ask for so many training photos, drawn at random, to be verified: the page shows them, "
        "and your list, unless the run added noise to it, is written again with them first",
        COUNT,
        metavar="N",
        shown="",
    )
    split: str | None = option(
        None,
        "photos to review; what is dropped is of training photos alone",
        Choice(("train", "test", "all")),
        shown="default: all of labels as found, train of labels to which noise was added",
    )
    output_dir: str | None = option(
        None,
        "folder to write to, or that of the new run of --again",
        metavar="DIR",
        shown="default: review in the run's folder; of --again, the run's with -round2, -round3, "
        "... at its end",
    )
    export: list[str] | None = option(
        None,
        "write the review for other tools too: docs/review.md says how each takes it",
        Choice(("label-studio", "fiftyone", "cleanlab")),
        many="+",
        shown="",
    )
    apply: list[str] | None = decided_flag(
        None,
        "review.json, as exported by the page, of one person or several, or what Label Studio, "
        "FiftyOne or cleanlab made of an --export: write the labels as reviewed.*, with their "
        "decisions, and nothing else",
    )
    again: list[str] | None = decided_flag(
        None,
        "the same, then train as the run was on what was written, in a new folder, and review the "
        "new run, which takes the decisions over",
    )
    decisions: list[str] | None = decided_flag(
        None,
        "review.json of reviews of other runs of these photos: the page takes the decisions over, "
        "as it does those that were applied in its folder",
    )
    with_drops: bool = option(
        False,
        "of --apply and --again: where nobody has decided, leave out the labels that the review of "
        "the run dropped",
        SWITCH,
        group="what people decided",
        shown="default: they stay as found",
    )
    threshold: float | None = decision_flag(
        None,
        "drop candidates that are less probable, 0..1",
        SHARE,
        shown="default 0.5; give one of --threshold, --precision and --budget",
    )
    precision: float | None = decision_flag(
        None,
        "drop as many as leave the expected share of false ones among the dropped at this at "
        "least, 0..1",
        SHARE,
        shown="",
    )
    budget: int | None = decision_flag(
        None, "drop this many, the least probable first", NATURAL, shown=""
    )
    folds: int | None = decision_flag(
        None,
        "judge every image by a model that was not trained on it: this many models are trained as "
        "the run was, each without a part of the images; resumes",
        Number(int, 2, 100),
        metavar="K",
        shown="default: the run's own model",
    )


@dataclass(frozen=True, kw_only=True)
class MovedData:
    """Places of a run's data that have moved."""

    path_images: str | None = moved_flag(
        None, "folder of the images", metavar="DIR", reads="the data set's folder"
    )
    labels: str | None = moved_flag(
        None, "label file", metavar="FILE", reads="the file that lists your images"
    )
    classes: str | None = moved_flag(
        None, "file of class names", metavar="FILE", reads="the file of class names"
    )
    rename: str | None = moved_flag(
        None, "new names of classes", metavar="FILE", reads="the file of new names"
    )
    noise_file: str | None = moved_flag(
        None, "candidate labels", metavar="FILE", reads="the run's candidate labels"
    )


@dataclass(frozen=True, kw_only=True)
class Options(MovedData, MachineOptions, ReviewOptions):
    """The options of review.py."""


@exit_status
def main() -> None:
    parser = OptionsParser(description=DESCRIPTION)
    options = parse(Options, parser)
    check_options(parser, options)
    check_inputs(options)

    from pipeline.review.reviewed_run import load_run
    from utils.options.stored import given_places

    run = load_run(options.load_from, given_places(options))
    folder = Path(options.output_dir or run.path / "review")
    if options.again is not None:
        again(options, run)
    elif options.apply is not None:
        from pipeline.review.apply import apply, apply_review_1, is_review_1, read_decided

        if is_review_1(options.apply) and not options.with_drops:
            files = apply_review_1(run, folder, options.apply[0])
        else:
            content, carried = read_decided(run, folder, options.apply)
            files = apply(run, folder, content, carried, options.with_drops)
        print_how_to_train(run.options, files)
    else:
        review(options, run, folder)


def decision_of(options: Options) -> dict[str, float]:
    """Those of the ways to decide which candidates are dropped that were given."""
    ways = {name: getattr(options, name) for name in ("threshold", "precision", "budget")}
    return {name: value for name, value in ways.items() if value is not None}


def check_options(parser: OptionsParser, options: Options) -> None:
    """Refuse flags that do not go together, with exit status 2."""
    parser.need(options.load_from, "--load_from", "a run's folder")
    given = list(decision_of(options))
    if len(given) > 1:
        parser.error(f"argument --{given[1]}: not allowed with argument --{given[0]}")
    if options.apply is not None and (given or options.folds is not None):
        parser.error("--apply takes the decisions of its file: leave --threshold and the like out")
    if options.apply is not None and (options.verify or options.split or options.export):
        parser.error("--apply reviews nothing: leave --verify, --split and --export out")
    if len([each for each in (options.apply, options.again, options.decisions) if each]) > 1:
        parser.error("--apply, --again and --decisions: give all files to one of them")
    if options.with_drops and not (options.apply or options.again):
        parser.error("--with_drops is for --apply and --again")
    if options.verify is not None and options.split == "test":
        parser.error("--verify asks for training photos: leave --split test out")


def check_review(options: Options, run: "ReviewedRun") -> "Photos":
    """The photos to review; refuses, before anything is written, what cannot be done with them."""
    from pipeline.review.exchange import check_export

    check_folds(options.folds, run)
    photos = run.photos(options.split)
    check_export(options.export or [], photos)
    return photos


def check_folds(folds: int | None, run: "ReviewedRun") -> None:
    """Refuse --folds where their models would have seen the images, or too few of them."""
    if folds is None:
        return
    if run.options.load_from is not None:
        raise UserError(
            f"--folds needs models that have not seen the images, but {run.path} was started from "
            f"{run.options.load_from}, which may have: leave --folds out"
        )
    if run.options.prior is not None:
        raise UserError("--folds cannot divide the --prior of the run: leave --folds out")
    if folds > len(run.train) // 2:
        raise UserError(
            f"--folds {folds}: expected {len(run.train) // 2} at most, so that each of the "
            f"{len(run.train)} images' models sees half of them at least; give fewer"
        )


def again(options: Options, run: "ReviewedRun") -> None:
    """Apply what people exported, train a new run on it as this one was, and review that."""
    from pipeline.experiment import train  # here and in folds.py alone a review trains
    from pipeline.review.apply import DECISIONS, apply, read_decided
    from pipeline.review.folds import on_machine
    from pipeline.review.reviewed_run import load_run
    from pipeline.review.to_verify import rows_to_verify
    from utils.files import check_output_dir

    folder, new = run.path / "review", Path(options.output_dir or next_round(run.path))
    check_output_dir(new)
    check_review(options, run)
    content, carried = read_decided(run, folder, options.again or [])
    rows_to_verify(options.verify, run, carried.verified, new / "review")  # enough are left
    files = apply(run, folder, content, carried, options.with_drops)
    decisions = [str(folder / DECISIONS)]
    then = shlex.join(["--load_from", str(new), "--decisions", *decisions])
    print(f"round               trains {new}; if interrupted, resume it, then review.py {then}")
    trained_with = run.options
    by_default = trained_with.targets == "classifier" and trained_with.default_targets is None
    if by_default and run.verified is None:  # the new run may have verified images
        trained_with = dataclasses.replace(trained_with, targets=None)
    train(on_files(on_machine(trained_with, run.train, options), files, new))
    of_new: dict[str, Any] = {"load_from": str(new), "decisions": decisions}
    review(dataclasses.replace(options, **of_new), load_run(str(new), {}), new / "review")


def next_round(folder: Path) -> Path:
    """A folder that is not there yet, named as the run's with the number of the round.

    >>> next_round(Path("no/such-run-round2")).name, next_round(Path("no/such-run")).name
    ('such-run-round3', 'such-run-round2')
    """
    folder = folder if folder.name not in ("", "..") else folder.resolve()
    earlier = re.fullmatch(r"(.*)-round(\d+)", folder.name)
    name, first = (earlier[1], int(earlier[2]) + 1) if earlier else (folder.name, 2)
    places = (folder.with_name(f"{name}-round{round}") for round in itertools.count(first))
    return next(place for place in places if not place.exists())


def on_files(trained_with: "TrainingOptions", files: list[Path], folder: Path) -> "TrainingOptions":
    """The options of a run in `folder` that trains by `trained_with` on files of labels."""
    from pipeline.review.label_files import classes_beside, place_of_images

    array, *lists = map(str, files)
    new = dataclasses.replace(
        trained_with, output_dir=str(folder), noise_file=array, partial_rate=None
    )
    if not lists:
        return new
    return dataclasses.replace(
        new,
        noise_file=None,
        partial_rate=0.0,
        labels=lists[0],
        path_images=place_of_images(trained_with),
        classes=str(classes_beside(files[0])),
        columns=None,
        separator=None,
        rename=None,
        verified=None,  # those that were drawn are in the list too
    )


def review(options: Options, run: "ReviewedRun", folder: Path) -> None:
    """Score the photos, decide on their candidates and write everything to `folder`."""
    from pipeline.review.apply import carry_to, decided_before
    from pipeline.review.reviewed_run import open_folder
    from pipeline.review.to_verify import rows_to_verify
    from utils.files import claimed, remove_leftovers

    photos, everything = check_review(options, run), run.photos(None)
    files = [*(options.decisions or []), *decided_before(folder)]
    content, carried = carry_to(run, everything, files)
    asked = rows_to_verify(options.verify, run, carried.verified, folder)
    first = len(everything.data) - len(photos.data) if options.split == "test" else 0
    here = carried.part(slice(first, first + len(photos.data)), photos.data.ids)
    open_folder(folder, run)
    with claimed(folder):
        remove_leftovers(folder, below=True)
        findings = judge_photos(options, run, photos, folder)
        write_review(
            options, run, folder, findings, content=content, carried=carried, here=here, asked=asked
        )


class Findings(NamedTuple):
    """What the program finds of P photos.

    entries: their candidates. probabilities, of_others: (P, C) float32, as `judge` returns them.
    kept: (P, C) uint8 in {0, 1}.
    """

    photos: "Photos"
    scan: "Scan"
    entries: "Entries"
    probabilities: "np.ndarray"
    of_others: "np.ndarray"
    decisions: "Decisions"
    kept: "np.ndarray"


def judge_photos(options: Options, run: "ReviewedRun", photos: "Photos", folder: Path) -> Findings:
    """Score the photos and decide on their candidates."""
    from pipeline.review.candidate_posterior import decide_photos, judge
    from pipeline.review.scan import Scan, entries_of

    entries = entries_of(photos.found)
    scan = Scan(photos.data, entries, folder)
    scan_images(scan, options, run, photos, folder / "folds" / run.key[:8])
    probabilities, of_others = judge(run, photos, scan.logits, scan.parts)
    decisions = decide_photos(
        probabilities[entries.rows, entries.columns],
        entries,
        photos.trained,
        [] if run.verified is None else run.verified.rows,
        **decision_of(options),
    )
    kept = entries.matrix(decisions.kept, photos.found.shape)
    return Findings(photos, scan, entries, probabilities, of_others, decisions, kept)


def write_review(
    options: Options,
    run: "ReviewedRun",
    folder: Path,
    findings: Findings,
    *,
    content: "Content",
    carried: "Carried",
    here: "Carried",
    asked: "np.ndarray",
) -> None:
    """Write labels, summary, page and files for other tools, and print what was found.

    Args:
        content, carried, here: what people decided: in all files, on photos of the run, and on
            those judged.
        asked: rows of the photos to verify.
    """
    from pipeline.review.apply import all_verified, write_decisions
    from pipeline.review.candidate_posterior import label_probability
    from pipeline.review.decisions import describe
    from pipeline.review.exchange import Judged, export
    from pipeline.review.label_files import write_kept, write_table
    from pipeline.review.page_files import write_page_files
    from pipeline.review.summary import describe_verified, headlines, summarise_photos
    from pipeline.review.to_verify import write_list_to_verify
    from utils.files import write_json

    photos, scan, entries, probabilities, of_others, decisions, kept = findings
    probability = probabilities[entries.rows, entries.columns]
    summary = summarise_photos(run, photos, probabilities, kept, decisions)
    summary["decisions"] = describe(carried)
    lines = headlines(summary)
    found, said = describe_verified(run, decisions.of_training.threshold)
    print("\n".join(said), end="\n" if said else "")

    write_table(folder / "labels.csv", photos.data, entries, probability, decisions.kept)
    written: list[Path] = []
    if photos.trained:
        of_training = run.as_found_where_verified(kept, photos)[: photos.trained]
        written = write_kept(folder / "cleaned", run.options, run.train, of_training, run.verified)
    write_decisions(folder, content, carried)
    write_json(folder / "summary.json", summary | found)
    if options.export is not None:
        scores = label_probability(scan.logits, run.candidates, run.options)
        judged = Judged(photos, here.hashes, run.key, probabilities, kept, scores)
        for path in export(options.export, folder, judged):
            print(f"exported            {path}")
    page = write_page_files(
        folder,
        run,
        scan,
        photos,
        here,
        of_others,
        probability=probability,
        kept=decisions.kept,
        summary=lines,
        to_verify=asked.tolist(),
    )
    write_list_to_verify(run, folder, asked, all_verified(run, carried))
    for name, value in lines.items():
        print(f"{name:<20}{value}")
    if decisions.of_training.precision is None and len(probability):
        print(f"                    the least probable candidate has {probability.min():.3f}")
    print(f"all candidates      {folder / 'labels.csv'}")
    print(f"page                {page}")
    for path in sorted(folder.glob("reviewed*.npy")):
        print(f"earlier             {path} is of an earlier --apply: give that again for a new one")
    print_how_to_train(run.options, written)


def scan_images(
    scan: "Scan", options: Options, run: "ReviewedRun", photos: "Photos", folds: Path
) -> None:
    """Score all images by the run's classifier, or by ones that were not trained on them.

    Args:
        folds: folder for the latter.
    """
    import numpy as np

    from pipeline.evaluation import load_trained

    training, test = np.split(np.arange(len(scan.data)), [photos.trained])
    if options.folds is not None and len(training):
        from pipeline.features import feature_folder
        from pipeline.review.folds import scan_folds  # trains, as `again` does

        scan_folds(
            scan,
            run.train,
            options=run.options,
            candidates=run.candidates,
            folds=options.folds,
            machine=options,
            folder=folds,
            verified=run.verified,
            store=feature_folder(run.options.cache, run.path),
        )
        training = training[:0]
    if not len(training) + len(test):
        return
    machine = {
        field.name: getattr(options, field.name) for field in dataclasses.fields(MachineOptions)
    }
    trained = load_trained(CheckpointOptions(load_from=options.load_from, **machine))
    for rows in filter(len, (training, test)):
        scan.add(trained, rows, options.workers, options.batch_size)


def print_how_to_train(trained_with: "TrainingOptions", files: list[Path]) -> None:
    """Print the files of labels kept, and the flags that train on them."""
    if not files:
        return
    from pipeline.review.label_files import classes_beside, flags_of_list

    array, *label_files = files
    flag = shlex.join(["--noise_file", str(array)])
    print(f"to train on         {array}; add {flag} to the run's command")
    for path in label_files:
        flags = flags_of_list(trained_with, path, classes_beside(array))
        print(f"                    or give {flags}")


if __name__ == "__main__":
    sys.exit(main())
