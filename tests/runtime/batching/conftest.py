import pytest

from tests.runtime.fakes import FakeBackend, Recorder


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
