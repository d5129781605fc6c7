"""The shipped job types, each held to the model as strictly as a user's own."""

import os
import shutil
from pathlib import Path

import pytest
from botocore.loaders import Loader

from monitor.aws import service_models
from monitor.sources.loader import BUILT_IN, load_job_type

ROOT = Path(__file__).parents[3]
FILES = sorted(BUILT_IN.glob("*.yaml"))


def newest():
    """Return a loader of the newest models, which .ci/run fetches."""
    folder = Path(os.environ.get("TEST_NEWEST_BOTOCORE") or ROOT / ".venv-newest")
    data = folder / "botocore" / "data"
    if not data.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {data}; .ci/run fetches it")
    return Loader(
        extra_search_paths=[str(service_models.OWN), str(data)],
        include_default_search_paths=False,
        file_loader=service_models.ModelFiles(),
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_type_fits_the_model(file, tmp_path):
    # A copy: a shipped file may lag behind the model of a newer SDK, one's own may not.
    job_type = load_job_type(Path(shutil.copy(file, tmp_path / file.name)))

    assert job_type.name == file.stem
    assert job_type.name.startswith(f"{job_type.service}.")
    assert job_type.warnings == ()


def test_all_shipped_types_fit_the_newest_models_too(tmp_path):
    models = newest()

    for file in FILES:
        assert not load_job_type(Path(shutil.copy(file, tmp_path / file.name)), models).warnings
    assert len(FILES) >= 66
