"""Replay by processes that MPI starts gives what this one gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diagnose.result.codec import to_dict
from tests.analysis.test_workers import ROOT, by
from tests.replay.plain_engine import record

SCRIPT = """
import json, sys
from pathlib import Path
from mpi4py import MPI
from mpi4py.futures import MPICommExecutor, MPIPoolExecutor
from diagnose.result.codec import to_dict
from tests.analysis.test_workers import Counting, by

def told(executor):
    counting = Counting(executor)
    found = to_dict(by(counting, Path(sys.argv[2])))
    return found, len(counting.jobs)

if __name__ == "__main__":
    if sys.argv[1] == "pool":
        with MPIPoolExecutor() as executor:
            print(json.dumps(told(executor)))
    else:
        with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
            if executor is not None:
                print(json.dumps(told(executor)))
"""


@pytest.mark.skipif(shutil.which("mpiexec") is None, reason="no mpiexec here")
@pytest.mark.parametrize("kind", ["pool", "comm"])
def test_executors_of_mpi4py(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    record(tmp_path / "loop.diag", batch=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    module = ["-m", "mpi4py.futures"] if kind == "pool" else []
    words = ["mpiexec", "-n", "3", sys.executable, *module, str(script), kind, str(tmp_path / "loop.diag")]
    # Open MPI (4 and 5) starts neither more processes than there are cores nor any as root unless told; others know
    # none of these.
    told = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    told |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env={**os.environ, **told, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    found, jobs = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads(json.dumps(to_dict(by(None, tmp_path / "loop.diag")))) and jobs == 4
