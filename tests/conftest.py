"""What a machine measured for its user is neither read nor written by tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of engine choices for the session, and for the processes that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("LATENTSERVE_CACHE", str(folder))
    return folder
