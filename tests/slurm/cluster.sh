#!/usr/bin/env bash
# A small Slurm for tests: one controller and two nodes, as processes that keep all their files in one folder.
#   cluster.sh up FOLDER     then export SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh down FOLDER   ends its jobs and its processes; the folder stays
set -euo pipefail
here=$(realpath "$2")
export SLURM_CONF=$here/slurm.conf
PATH=$PATH:/usr/sbin

until_true() { # a command, for at most 30 s
  for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "not within 30 s: $*" >&2; cat "$here"/*.log >&2; return 1
}

up() {
  read -r controller first second < <(python3 -c '
import socket
open_ = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in open_))')
  mkdir -p "$here/state" && chmod 755 "$here"
  (umask 077 && head -c 128 /dev/urandom >"$here/munge.key")
  # cred_expire is also the time that a job waits after it was queued again; where it is below 5 s, Slurm takes 120
  # requeue and grace: preempted jobs receive SIGUSR2, and have GraceTime seconds left
  # ReturnToService=0: a node that was set down stays down
  # MaxArraySize is one more than the largest index
  cat >"$SLURM_CONF" <<END
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$here/munge.socket,cred_expire=5
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool-%n
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd-%n.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=0
KillWait=10
MaxArraySize=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=one NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$first CPUs=1 RealMemory=4000
NodeName=two NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$second CPUs=1 RealMemory=4000
PartitionName=low Nodes=one,two Default=YES PriorityTier=1 GraceTime=60
PartitionName=high Nodes=one,two PriorityTier=2 PreemptMode=OFF
END
  munged --force --key-file "$here/munge.key" --socket "$here/munge.socket" --pid-file "$here/munged.pid" \
    --log-file "$here/munged.log" --seed-file "$here/munge.seed"
  slurmctld
  slurmd -N one
  slurmd -N two
  until_true eval '[ "$(sinfo --noheader --states=idle --format=%D --partition=low)" = 2 ]'
}

down() {
  if scontrol ping | grep -q "is UP"; then
    scancel --user "$(id -un)" || true
    until_true eval '[ -z "$(squeue --noheader)" ]' || true
  fi
  for file in "$here"/slurmctld.pid "$here"/slurmd-*.pid "$here"/munged.pid; do
    if [ -s "$file" ]; then
      pid=$(cat "$file")
      kill "$pid" || true
      until_true eval "! kill -0 $pid"
    fi
  done
}

"$1"
