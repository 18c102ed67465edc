"""The same on a local Ray cluster (make test-ray)."""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from tascel.errors import TraceError
from tascel.workers import Crew

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def work():
    """A cluster of two processors, whose workers find the jobs."""
    ray = import_module("ray")
    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        ray.init(num_cpus=2, log_to_driver=False)
        patch.syspath_prepend(here)
        yield import_module("jobs_of_workers")
    ray.shutdown()


def test_a_cluster_makes_the_same_files(work, tmp_path):
    heard = []
    jobs = {f"r{i}": i for i in range(7)}
    with Crew("ray", tmp_path) as crew:
        found = crew.run("squaring", jobs, work.square, lambda *said: heard.append(said), 21)
    assert [path.read_text() for path in found.values()] == [str(i * i) for i in range(7)]
    assert heard[-1] == ("squaring", 21, 21)


def test_a_cluster_tells_a_jobs_error_and_replaces_the_killed(work, tmp_path):
    (tmp_path / "results").mkdir()
    with Crew("ray", tmp_path / "results") as crew:
        with pytest.raises(TraceError) as told:
            crew.run("refusing", {"r": 1}, work.refuse, lambda *said: None)
        assert told.value.remedy == "Mend it"
        dying = partial(work.die, folder=tmp_path, times=2)
        jobs = {f"r{i}": i for i in range(7)}
        found = crew.run("dying", jobs, dying, lambda *said: None)
    assert [path.read_text() for path in found.values()] == [*map(str, range(7))]
