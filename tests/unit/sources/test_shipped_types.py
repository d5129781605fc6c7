"""The shipped job types, each held to the model as strictly as a user's own."""

import shutil

import pytest

from monitor.sources.loader import BUILT_IN, load_job_type


@pytest.mark.parametrize("file", sorted(BUILT_IN.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_type_fits_the_model(file, tmp_path):
    # A copy: a shipped file may lag behind the model of a newer SDK, one's own may not.
    job_type = load_job_type(shutil.copy(file, tmp_path / file.name))

    assert job_type.name == file.stem
    assert job_type.warnings == ()
