"""Damaged and hostile files, in short; `make fuzz` is the long form."""

from tests.fuzz import fuzz_all
from tests.fuzz_readers import READERS


def test_every_reader_reads_or_refuses_what_is_damaged(tmp_path):
    tallies = fuzz_all(READERS, 10 * len(READERS), 0, tmp_path / "failed")
    failed = {name: tally.failures for name, tally in tallies.items() if tally.failures}
    assert not failed
    assert sum(tally.kinds["refused"] for tally in tallies.values()) > len(READERS)
