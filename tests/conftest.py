from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared():
    """The folder of data files that are kept beside the repository and not in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder
