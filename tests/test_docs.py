"""README and docs: tables are those of their files, links lead somewhere, commands can be typed."""

import argparse
import contextlib
import importlib
import re
import shlex
from pathlib import Path

import pytest

import compare
from docs import make

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ["CONTRIBUTING.md", "benchmarks/README.md", "pre-processed-data/README.md"]
LINKED = [*make.PAGES, *(ROOT / name for name in OTHERS)]
SCRIPTS = (
    "main_CoNeS main_real main_BCE val predict review compare check_data make_candidates".split()
)
# As the method's authors publish them; `224/448` lists alternatives.
OF_THE_AUTHORS = """
python main_CoNeS.py --dataset voc07 --num_cls 20 --img_size 224/448 --batch_size 16 --partial_rate 0.1/0.2/0.4 --path_images "Dataset/VOCdevkit" --r_ws 3
python main_CoNeS.py --dataset coco --num_cls 80 --img_size 224/448 --batch_size 16 --partial_rate 0.05/0.1/0.2 --path_images "Dataset/COCO2014" --r_ws 2
python main_real.py --dataset nuswide --num_cls 81 --img_size 224/448 --batch_size 16 --path_images "Dataset/nuswide" --r_ws 3
python main_BCE.py --dataset voc07 --num_cls 20 --img_size 224/448 --batch_size 16 --partial_rate 0.1/0.2/0.4 --path_images "Dataset/VOCdevkit"
python main_BCE.py --dataset coco --num_cls 80 --img_size 224/448 --batch_size 16 --partial_rate 0.05/0.1/0.2 --path_images "Dataset/COCO2014"
""".strip().splitlines()  # noqa: E501
# Flags of other programs that the pages name.
FOREIGN = {"--nnodes", "--rdzv_endpoint", "--nproc_per_node", "--repeats"}


def name_of(path):
    return str(path.relative_to(ROOT))


def pages(paths):
    return pytest.mark.parametrize("page", paths, ids=name_of)


def fences(text):
    """The text of fenced and of indented code, and what is left."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.S | re.M)
    rest = re.sub(r"^ *```\w*\n.*?^ *```$", "", text, flags=re.S | re.M)
    return "\n".join([*fenced, *re.findall(r"^    (.*)$", rest, re.M)]), rest


def anchors(page):
    """The anchors that a page's headings have on its host."""
    _, rest = fences(page.read_text("utf-8"))
    found = []
    for heading in re.findall(r"^#+ +(.*)$", rest, re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.append(anchor if anchor not in found else f"{anchor}-{found.count(anchor)}")
    return found


def commands(page):
    """The rest after `python`, or `torchrun` and its flags, in code blocks and in inline code."""
    code, rest = fences(page.read_text("utf-8"))
    start = r"(?:(?:\.venv/bin/)?python|torchrun(?: --\S+)*) "
    lines = re.findall(rf"^ *{start}(.*)$", code, re.M)
    return lines + re.findall(rf"`{start}([^`]+)`", rest)


ALL_COMMANDS = [(name_of(page), line) for page in LINKED for line in commands(page)]


class Parsed(Exception):
    """An end in place of what a script does once its flags are parsed."""


@pytest.fixture
def parser_of(monkeypatch):
    """Call with a script and its words: its parser, which has parsed them."""

    def parse(script, words):
        parse_args = argparse.ArgumentParser.parse_args
        parsers = []

        def stop(self, *arguments):
            parsers.append(self)
            parse_args(self, words)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with contextlib.suppress(Parsed):
            importlib.import_module(script).main()
        monkeypatch.undo()
        return parsers[0]

    return parse


@pages(make.PAGES)
def test_the_tables_of_a_page_are_those_of_its_files(page):
    text = page.read_text("utf-8")
    assert make.fill(text) == text, "python -m docs.make makes it anew"


def test_each_file_of_results_is_shown():
    shown = {
        block["source"].partition(":")[0]
        for page in make.PAGES
        for block in make.BLOCK.finditer(page.read_text("utf-8"))
    }
    assert {f"results/{path.name}" for path in (make.DOCS / "results").glob("*.csv")} <= shown


@pytest.mark.parametrize(("plot", "source"), make.PLOTS.items(), ids=lambda path: path.name)
def test_a_plot_is_that_of_its_file(plot, source):
    assert make.is_drawn(plot, source), "python -m docs.make draws it anew"


def test_a_block_is_made_anew_from_its_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "DOCS", tmp_path)
    (tmp_path / "r.csv").write_text(
        "method,rate,seed,mAP,candidate_AP\n"
        "clean,,0,90.0,\nclean,,1,92.0,\nbce,0.4,0,80.0,50.0\nbce,0.4,1,82.0,52.0\n"
        "posterior,0.4,0,85.0,70.0\n"
    )
    text = make.fill("a\n<!-- made from r.csv -->\nold\n<!-- end -->\nb\n")
    assert text == (
        "a\n<!-- made from r.csv -->\n\n| method | rate 0.4 | recovered at 0.4 |\n|---|---|---|\n"
        "| clean | 91.0 ± 1.4 | 100 |\n| bce | 81.0 ± 1.4 | 0 |\n"
        "| posterior | 85.0 (1 of 2) | 50 (1 of 2) |\n\n<!-- end -->\nb\n"
    )
    assert make.fill(text) == text
    judged = make.fill("<!-- made from r.csv: candidate AP -->\n<!-- end -->")
    assert "| bce | 51.0 ± 1.4 |" in judged
    assert "clean" not in judged


def test_a_plot_of_an_older_file_is_noticed(tmp_path):
    source, plot = tmp_path / "r.csv", tmp_path / "r.png"
    source.write_text("method,rate,seed,mAP\nbce,0.1,0,80.0\nbce,0.4,0,70.0\n")
    make.draw(plot, source)
    assert make.is_drawn(plot, source)
    source.write_text(source.read_text().replace("70.0", "71.0"))
    assert not make.is_drawn(plot, source)


@pages(LINKED)
def test_local_links_lead_to_a_file_and_a_heading(page):
    _, rest = fences(page.read_text("utf-8"))
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", rest):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pages(make.PAGES)
def test_files_of_the_project_that_a_page_names_exist(page):
    _, rest = fences(page.read_text("utf-8"))
    named = re.findall(r"`((?:pipeline|utils|tests|docs|benchmarks)/[\w./-]*)`", rest)
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS, ids=lambda text: text[:60])
def test_a_command_of_the_pages_can_be_typed(page, command, parser_of, capsys):
    words = shlex.split(command)
    if words[0] == "-m":
        assert (
            words[1] in ("venv", "pip", "pytest", "benchmarks", "docs.make")
            or (ROOT / f"{words[1].replace('.', '/')}.py").exists()
        )
        return
    script, flags = words[0].removesuffix(".py"), words[1:]
    assert script in SCRIPTS
    if "--help" in flags:
        return
    try:
        if script == "compare":
            compare.parse_options(flags)
            shared = flags[flags.index("--") + 1 :] if "--" in flags else []
            parser_of("main_BCE", ["--dataset", "digits", *shared])
        else:
            parser_of(script, flags)
    except SystemExit:
        pytest.fail(f"{page}: {command}: {capsys.readouterr().err}")


def test_each_command_of_the_authors_stands_as_they_wrote_it():
    lines = {f"python {command.strip()}" for _, command in ALL_COMMANDS}
    assert set(OF_THE_AUTHORS) <= lines


def test_flags_that_the_pages_name_exist(parser_of):
    known = set(FOREIGN)
    for script in SCRIPTS:
        with contextlib.suppress(SystemExit):
            known |= set(parser_of(script, [])._option_string_actions)
    text = "\n".join(page.read_text("utf-8") for page in make.PAGES)
    assert set(re.findall(r"(?<![\w-])--[a-z]\w+", text)) - known == set()
