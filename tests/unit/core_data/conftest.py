"""A small repository with simulated raw files, shared by the tests of this room."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sim_raws(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve raw files of the tiny survey: a bias, a dark, three flats and seven science frames."""
    from skydesk_core.sim.survey import get_survey, write_frame

    folder = tmp_path_factory.mktemp("raw")
    frames = get_survey("tiny").frames
    chosen = [frames[0], frames[5], frames[8], frames[11], frames[14], *frames[17:24]]
    return [Path(write_frame("tiny", f, str(folder))) for f in chosen]


@pytest.fixture
def sim_repo(tmp_path: Path, sim_raws: list[Path]) -> Path:
    """A fresh repository that holds those files and the simulated survey's camera, skymap and truth."""
    from skydesk_core.instrument.ingest import ingest_raws
    from skydesk_core.instrument.simcam import SimCam
    from skydesk_core.repo import create_repo, open_repo
    from skydesk_core.sim.repository import register_survey
    from skydesk_core.sim.survey import get_survey

    path = tmp_path / "butler"
    create_repo(path)
    with open_repo(path, writeable=True) as butler:
        register_survey(butler, get_survey("tiny"), "skydesk_demo", "demo/truth")
        ingest_raws(butler, SimCam(), sim_raws, transfer="copy")
    return path


@pytest.fixture
def task_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tasks of `executor_tasks` importable here and in worker processes."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])))
