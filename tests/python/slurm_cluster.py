"""A Slurm cluster of one node on this machine: munged, slurmctld and slurmd from Debian's packages.

Everything that they write lies in one folder. They listen on ports of 127.0.0.1 only.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from programs import program

_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=defer_batch,batch_sched_delay=0,sched_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=500 Features=fast,here
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The variables of the environment with which Slurm's commands use this cluster.

    Jobs that are submitted before the node has registered wait for it.
    """
    daemons = [program(name, name) for name in ("slurmctld", "slurmd")]
    munged = program("munged", "munge")
    program("sbatch", "slurm-client")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller_port=_free_port(),
            node_port=_free_port(),
        )
    )
    environment = {"SLURM_CONF": str(configuration)}
    with ExitStack() as stack:
        stack.enter_context(_munge(munged, folder))
        for daemon in daemons:
            stack.enter_context(_running([daemon, "-D"], {**os.environ, **environment}, folder))
        yield environment


@contextmanager
def _munge(munged: str, folder: Path) -> Iterator[None]:
    files = {"socket": "socket", "key-file": "key", "seed-file": "seed"}
    files |= {"log-file": "log", "pid-file": "pid"}
    command = [munged, *(f"--{flag}={folder}/munge.{name}" for flag, name in files.items())]
    # It starts a daemon, and returns when the daemon listens. --force accepts a folder that only
    # this user can enter.
    subprocess.run([*command, "--force"], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*command, "--stop"], check=True, capture_output=True)


@contextmanager
def _running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
