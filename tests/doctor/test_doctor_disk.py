"""What the doctor says of the run's directory and the room in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxswarm.doctor import machine
from jaxswarm.doctor.findings import Level
from jaxswarm.model.config import ModelConfig
from tests.doctor.test_doctor import ROOT

pytestmark = pytest.mark.faults


def test_a_disk_too_small_is_a_failure_and_one_too_small_for_all_a_warning(
    tmp_path: Path, model: ModelConfig, huge: ModelConfig
) -> None:
    (finding,) = machine.disk(tmp_path / "run", huge, keep=2)
    assert finding.level == Level.FAILURE
    assert "GB free for 2 checkpoints of" in finding.found
    (finding,) = machine.disk(tmp_path / "run", model, keep=10**9)
    assert finding.level == Level.WARNING


def test_a_directory_that_can_t_be_made_is_a_failure(tmp_path: Path, model: ModelConfig) -> None:
    (tmp_path / "file").write_text("")
    (finding,) = machine.disk(tmp_path / "file" / "run", model, keep=2)
    assert finding.level == Level.FAILURE
    assert "can't be made or written" in finding.found


def test_checkpoints_that_are_there_need_no_room_again(tmp_path: Path, model: ModelConfig) -> None:
    one = machine.STATE_BYTES * model.num_parameters
    keep = shutil.disk_usage(tmp_path).free // one + 50
    run = tmp_path / "run"
    (before,) = machine.disk(run, model, keep)
    for step in range(100):
        (run / "checkpoints" / str(step)).mkdir(parents=True)
    (finding,) = machine.disk(run, model, keep)
    assert (before.level, finding.level) == (Level.WARNING, Level.OK)
    assert finding.found.endswith("and a new one, 100 of them there")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody with fewer rights")
def test_a_directory_that_may_not_be_entered_is_a_failure(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from configs import tiny\n"
        "from jaxswarm.doctor import identity, machine\n"
        "from jaxswarm.doctor.findings import run\n"
        "from jaxswarm.model import sources\n"
        "directory = Path(sys.argv[1])\n"
        "model = sources.look_up(tiny.get_config().model.source)\n"
        "os.setgroups([])\n"
        "os.setgid(65534)\n"
        "os.setuid(65534)\n"
        "print(*run('disk', lambda: machine.disk(directory, model, 2)))\n"
        "print(*run('swarm', lambda: identity.identity(directory / 'identity.pem', None)))\n"
    )
    command = [sys.executable, "-c", script, str(closed / "runs" / "gsm8k")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    disk, key = done.stdout.splitlines()
    assert disk.startswith("failure  disk")
    assert "can't be made or written" in disk
    assert key.startswith("failure  swarm")
    assert "got 'Permission denied'" in key
