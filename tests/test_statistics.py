"""Statistics of scores, against values worked by hand."""

import pytest

from utils.comparison.statistics import (
    Difference,
    Run,
    expected_seconds,
    noise_recovered,
    paired_difference,
    score_of,
    spread,
)
from utils.comparison.tables import csv_text, markdown_report

# Three seeds at two rates; clean has one run a seed for both.
SCORES = {Run("clean", None, seed): 90.0 for seed in (0, 1, 2)}
SCORES |= {Run("bce", 0.1, 0): 86.0, Run("bce", 0.1, 1): 88.0, Run("bce", 0.1, 2): 87.0}
SCORES |= {Run("bce", 0.4, 0): 70.0, Run("bce", 0.4, 1): 80.0, Run("bce", 0.4, 2): 75.0}
SCORES |= {Run("paper", 0.1, 0): 87.0, Run("paper", 0.1, 1): 90.0, Run("paper", 0.1, 2): 90.0}
SCORES |= {Run("paper", 0.4, 0): 75.0, Run("paper", 0.4, 1): 80.0}
SEEDS = [0, 1, 2]


def report(methods, rates=(0.1, 0.4), seeds=SEEDS, reference="paper", candidates=None):
    return markdown_report("digits", SCORES, candidates or {}, methods, rates, seeds, reference)


def rows(text, heading):
    """The table under a heading, as {method: cells}."""
    section = text.split(f"# {heading}\n")[1].split("\n#")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {name: cells for name, *cells in lines if not name.startswith("---")}


def test_clean_serves_every_rate():
    assert score_of(SCORES, "clean", 0.1, 2) == score_of(SCORES, "clean", 0.4, 2) == 90
    assert score_of(SCORES, "paper", 0.4, 2) is None


def test_spread_is_over_the_seeds_that_have_a_score():
    assert spread(SCORES, "bce", 0.4, SEEDS) == (75.0, 5.0, 3)
    mean, deviation, n = spread(SCORES, "paper", 0.4, SEEDS)
    assert (mean, deviation, n) == (77.5, pytest.approx(12.5**0.5), 2)
    assert spread(SCORES, "paper", 0.4, [1]) == (80.0, None, 1)
    assert spread(SCORES, "paper", 0.4, [2]) is None


def test_recovered_is_a_ratio_of_means_over_the_common_seeds():
    # Won 1, 2, 3 of lost 4, 2, 3; the mean of the ratios would be 75%.
    assert noise_recovered(SCORES, "paper", 0.1, SEEDS) == (pytest.approx(100 * 6 / 9), 3)
    # Seed 2 of paper is missing: won 5, 0 of lost 20, 10.
    assert noise_recovered(SCORES, "paper", 0.4, SEEDS) == (pytest.approx(100 * 5 / 30), 2)
    for bound, share in (("clean", 100), ("bce", 0)):
        assert noise_recovered(SCORES, bound, 0.4, SEEDS) == (share, 3)
        others = {run: score for run, score in SCORES.items() if run.method != bound}
        assert noise_recovered(others, "paper", 0.1, SEEDS) is None


@pytest.mark.parametrize(("lost", "defined"), [(0.2, True), (0.05, False), (0.0, False)])
def test_where_noise_costs_nothing_no_share_of_it_is_claimed(lost, defined):
    scores = {Run("clean", None, 0): 90.0, Run("bce", 0.1, 0): 90 - lost, Run("p", 0.1, 0): 91.0}
    assert (noise_recovered(scores, "p", 0.1, [0]) is not None) == defined


def test_p_is_that_of_the_paired_t_test():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.464 with 2 degrees of freedom, for which
    # P(|T| > t) = 1 - t / sqrt(2 + t ** 2).
    mean, p, n = paired_difference(SCORES, "paper", "bce", [0.1], SEEDS)
    assert (mean, n) == (2.0, 3)
    assert p == pytest.approx(1 - 12**0.5 / 14**0.5)
    assert paired_difference(SCORES, "bce", "paper", [0.1], SEEDS) == (-2.0, pytest.approx(p), 3)


def test_of_several_rates_a_seed_counts_once_and_only_if_it_has_all():
    assert paired_difference(SCORES, "paper", "bce", [0.1, 0.4], SEEDS)[::2] == (2.0, 2)
    assert paired_difference(SCORES, "clean", "bce", [0.1, 0.4], SEEDS)[::2] == (54 / 6, 3)


def test_two_methods_without_a_rate_meet_once_a_seed():
    scores = {Run(name, None, seed): seed + len(name) for name in ("a", "bb") for seed in SEEDS}
    scores[Run("bb", None, 0)] += 1
    found = paired_difference(scores, "bb", "a", [0.1, 0.4], SEEDS)
    assert found == paired_difference(scores, "bb", "a", [0.1], SEEDS)
    assert found[::2] == (pytest.approx(4 / 3), 3)


def test_one_seed_shows_no_significance_whatever_the_number_of_rates():
    assert paired_difference(SCORES, "paper", "bce", [0.1, 0.4], [0]) is None
    assert paired_difference(SCORES, "paper", "bce", [0.4], [1, 2]) is None


def test_equal_differences_have_no_p():
    scores = {Run("a", 0.1, seed): 70.3 + seed for seed in SEEDS}
    scores |= {Run("b", 0.1, seed): 70.0 + seed for seed in SEEDS}
    found = paired_difference(scores, "a", "b", [0.1], SEEDS)
    assert found == Difference(pytest.approx(0.3), None, 3)


def test_a_run_is_expected_to_take_what_its_method_took_else_what_any_did():
    finished = [("bce", 10.0), ("bce", 20.0), ("paper", 60.0)]
    assert expected_seconds("bce", finished) == 15
    assert expected_seconds("hill", finished) == 30
    assert expected_seconds("hill", []) is None


def test_the_table_shows_mean_deviation_and_how_many_seeds_there_are():
    text = report(["clean", "bce", "paper", "asl"])
    assert rows(text, "digits") == {
        "method": ["rate 0.1", "rate 0.4"],
        "clean": ["90.0 ± 0.0", "90.0 ± 0.0"],
        "bce": ["87.0 ± 1.0", "75.0 ± 5.0"],
        "paper": ["89.0 ± 1.7", "77.5 ± 3.5 (2 of 3)"],
        "asl": ["-", "-"],
    }
    assert "over seeds 0, 1, 2." in text
    text = report(["bce"], seeds=[1])
    assert rows(text, "digits")["bce"] == ["88.0", "80.0"]
    assert "over seed 1." in text


def test_the_bounds_of_what_is_recovered_have_no_rows_there():
    recovered = rows(report(["clean", "bce", "paper", "asl"]), "Noise recovered")
    assert recovered == {
        "method": ["rate 0.1", "rate 0.4"],
        "paper": ["67", "17 (2 of 3)"],
        "asl": ["-", "-"],
    }


@pytest.mark.parametrize("methods", [["clean", "paper"], ["bce", "paper"], ["clean", "bce"]])
def test_without_both_bounds_or_anything_between_nothing_is_recovered(methods):
    assert "Noise recovered" not in report(methods, reference=methods[0])


def test_candidate_ap_has_a_table_of_its_own():
    found = {Run("bce", 0.1, 0): 60.0, Run("bce", 0.1, 1): 62.0}
    cells = rows(report(["clean", "bce"], candidates=found, reference="bce"), "Candidate AP")
    assert cells["bce"] == ["61.0 ± 1.4 (2 of 3)", "-"]
    assert cells["clean"] == ["-", "-"]


def test_every_other_method_is_tested_against_the_reference():
    cells = rows(report(["bce", "paper", "asl"], reference="bce"), "Difference from bce")
    assert cells["method"] == ["rate 0.1", "rate 0.4", "all rates"]
    assert cells["paper"][0] == "+2.0, p 0.074, n 3"
    assert cells["paper"][2].endswith("n 2")
    assert cells["asl"] == ["-", "-", "-"]
    assert "bce" not in cells
    one_rate = rows(report(["bce", "paper"], [0.1], reference="bce"), "Difference from bce")
    assert one_rate["method"] == ["rate 0.1"]
    assert "Difference" not in report(["bce"], reference="bce")


def test_records_with_different_metrics_share_a_csv():
    records = [{"method": "bce", "rate": None, "mAP": 80.5}, {"method": "paper", "loss": 1.0}]
    assert csv_text(records) == "method,rate,mAP,loss\nbce,,80.5,\npaper,,,1.0\n"
