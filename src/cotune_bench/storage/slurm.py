"""Jobs of Slurm: the id of the one that this process belongs to, and the states of all."""

import os
import shutil
import subprocess

#: States of jobs that Slurm neither runs nor will run; GONE stands for a job that squeue no longer lists.
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "GONE")


def job_id() -> str | None:
    """Id of this process's job as squeue prints it, ``ARRAY_INDEX`` in an array; None outside of Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def job_states() -> dict[str, tuple[str, str]] | None:
    """State and reason, such as ``("PENDING", "BeginTime")``, of the user's jobs by id; None where squeue fails.

    Slurm forgets a job that ended five minutes ago (MinJobAge).
    """
    if not shutil.which("squeue"):
        return None
    command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%r"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return {job: (state, reason) for job, state, reason in (line.split("|", 2) for line in output.splitlines())}
