"""Commands that are killed, in short; `make torture` is the long form."""

import pytest

from tests.torture import CASES, prepare, torture

QUICK = ("paper", "verified", "features", "image cache", "predictions", "review")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with what the cases need."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare()
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_a_command_that_is_killed_and_repeated_leaves_what_an_unbroken_one_does(
    name, prepared, monkeypatch
):
    monkeypatch.chdir(prepared)
    assert len(list(torture(name, kills=2, seed=1))) == 2
