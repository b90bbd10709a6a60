"""The executor: dependencies, failures, killed workers, killed runs, abort, nothing to do."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skydesk_core.errors import NotFoundError, PipelineError, UsageError
from skydesk_core.executor import find_pipeline, run_pipeline
from skydesk_core.executor.pool import WorkerPool
from skydesk_core.repo import open_repo

pytestmark = pytest.mark.usefixtures("task_environment")

SCIENCE = "instrument='SimCam' AND exposure.observation_type='science'"


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        f"""description: test
tasks:
  mean:
    class: executor_tasks.MeanTask
    config: {{folder: "{tmp_path}", fail_seq: 102, kill_seq: 103}}
  gather: {{class: executor_tasks.GatherTask}}
"""
    )
    (tmp_path / "killed").touch()
    return str(path)


@pytest.fixture(scope="module")
def pool():
    folder = str(Path(__file__).parent)
    with WorkerPool(2, environment={"PYTHONPATH": folder}) as pool:
        yield pool


def marks(folder: Path) -> int:
    return len(list(folder.glob("ran_*")))


def test_gather_runs_after_all_its_inputs_and_outputs_are_registered(sim_repo, pipeline, pool, tmp_path):
    seen = []
    report = run_pipeline(
        sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool, progress=seen.append
    )
    assert report.ok
    assert report.total == 8
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total == 8
    assert seen[-1].remaining_s == 0
    with open_repo(sim_repo, collections="runs/a") as butler:
        assert butler.get("mean_total", instrument="SimCam")["count"] == 7
        assert len(butler.query_datasets("mean_metadata")) == 7
        assert len(butler.query_datasets("mean_log")) == 7
        assert butler.get("mean_config") is not None
    assert report.costs["mean"].quanta == 7
    # An interpreter that started for each quantum would take seconds.
    assert report.costs["mean"].cpu_s / 7 < 1.0


def test_nothing_left_to_do_is_success(sim_repo, pipeline, pool, tmp_path):
    run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    before = marks(tmp_path)
    report = run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert report.ok
    assert report.total == 0
    assert marks(tmp_path) == before


def test_a_failure_blocks_only_what_depends_on_it_and_a_second_call_repairs_it(
    sim_repo, pipeline, pool, tmp_path
):
    (tmp_path / "broken").touch()
    report = run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert not report.ok
    assert {f.label for f in report.failures} == {"mean"}
    assert "this exposure is broken" in report.failures[0].message
    assert report.blocked == 1
    assert report.succeeded == 7 - len(report.failures)
    (tmp_path / "broken").unlink()
    ran = marks(tmp_path)
    again = run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert again.ok
    assert again.total == len(report.failures) + 1
    assert marks(tmp_path) - ran == len(report.failures)
    assert again.run == report.run


def test_a_killed_worker_costs_one_more_attempt_and_nothing_else(sim_repo, pipeline, pool, tmp_path):
    (tmp_path / "killed").unlink()
    report = run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert report.ok
    assert report.succeeded == 8
    assert (tmp_path / "killed").exists()
    assert len(pool.pids) == 2


def test_a_killed_run_is_resumed(sim_repo, pipeline, tmp_path):
    Path(pipeline).write_text(Path(pipeline).read_text().replace("fail_seq: 102", "sleep_s: 0.9"))
    code = (
        "import sys; from skydesk_core.executor import run_pipeline\n"
        "run_pipeline(*sys.argv[1:4], 'runs/a', sys.argv[4], workers=1)"
    )
    arguments = [str(sim_repo), pipeline, "SimCam/defaults", SCIENCE]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)
    deadline = time.monotonic() + 60
    while marks(tmp_path) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for child in children:
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists(), "a worker outlived its owner"
    done = marks(tmp_path)
    report = run_pipeline(sim_repo, *arguments[1:3], "runs/a", SCIENCE, workers=1)
    assert report.ok
    assert 2 <= report.total < 8
    assert marks(tmp_path) - done < 7
    with open_repo(sim_repo, collections="runs/a") as butler:
        assert butler.get("mean_total", instrument="SimCam")["count"] == 7


def test_abort_ends_soon_and_keeps_what_is_done(sim_repo, pipeline, tmp_path, pool):
    Path(pipeline).write_text(Path(pipeline).read_text().replace("fail_seq: 102", "sleep_s: 0.4"))
    stop = threading.Event()
    begin = time.monotonic()
    report = run_pipeline(
        sim_repo,
        pipeline,
        "SimCam/defaults",
        "runs/a",
        SCIENCE,
        pool=pool,
        progress=lambda p: stop.set() if p.done >= 2 else None,
        abort=stop.is_set,
    )
    assert report.aborted
    assert not report.ok
    assert 2 <= report.succeeded < 8
    assert time.monotonic() - begin < 60
    again = run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert again.ok
    assert again.total == 8 - report.succeeded


def test_a_part_of_a_pipeline_continues_in_the_same_output(sim_repo, pipeline, pool):
    run_pipeline(sim_repo, f"{pipeline}#mean", "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    report = run_pipeline(sim_repo, f"{pipeline}#gather", "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    assert report.ok
    assert report.total == 1


def test_a_changed_configuration_needs_another_output(sim_repo, pipeline, pool):
    run_pipeline(sim_repo, f"{pipeline}#mean", "SimCam/defaults", "runs/a", SCIENCE, pool=pool)
    Path(pipeline).write_text(Path(pipeline).read_text().replace("kill_seq: 103", "kill_seq: 7"))
    with pytest.raises(PipelineError, match="choose another output"):
        run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/a", SCIENCE, pool=pool)


def test_bad_arguments_are_named(sim_repo, pipeline, tmp_path, pool):
    with pytest.raises(NotFoundError, match="nowhere"):
        run_pipeline(sim_repo, pipeline, "nowhere", "runs/b", SCIENCE, pool=pool)
    with pytest.raises(NotFoundError, match=r"no pipeline missing\.yaml"):
        run_pipeline(sim_repo, "missing.yaml", "SimCam/defaults", "runs/b", pool=pool)
    with pytest.raises(NotFoundError, match="no Butler repository"):
        run_pipeline(tmp_path / "none", pipeline, "SimCam/defaults", "runs/b", pool=pool)
    with pytest.raises(UsageError, match="no chain"):
        run_pipeline(sim_repo, pipeline, "SimCam/defaults", "SimCam/raw/all", pool=pool)
    with pytest.raises(PipelineError, match="colour"):
        run_pipeline(sim_repo, pipeline, "SimCam/defaults", "runs/b", "colour='red'", pool=pool)
    with pytest.raises(PipelineError, match=r"^DRP#nothing: "):
        run_pipeline(sim_repo, "DRP#nothing", "SimCam/defaults", "runs/b", pool=pool)


def test_packaged_pipelines_are_found_by_name():
    assert find_pipeline("DRP#isr").endswith("pipelines/DRP.yaml#isr")
