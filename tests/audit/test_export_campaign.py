"""The campaign of `make export-campaign`, small: the same code that exports a million records."""

import pytest

from tests.bench.export_campaign import campaign


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_an_export_beside_writers_keeps_memory_and_its_manifest(tmp_path, name):
    figures = campaign(tmp_path / "home", 20_000, name, part_records=4096)
    assert figures.parts == 5
    assert figures.written_meanwhile > 20, "writers went on"
    assert figures.memory_peak_mb - figures.memory_before_mb < 150
    whole_ms = (
        1000 * figures.records / figures.exported_per_second
    )  # a share, since a machine may stand still for a second
    assert figures.longest_read_ms < 0.8 * whole_ms, "a read transaction is held for a part and not for the export"
