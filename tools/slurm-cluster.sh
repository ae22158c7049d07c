#!/bin/bash
# A Slurm cluster of one node, this machine, to test batch jobs with; no systemd, no accounting.
# For Debian. Usage:
#   tools/slurm-cluster.sh start [STATE]    install Slurm if missing, start the cluster; prints the
#                                           line that makes Slurm's commands use it: for eval
#   tools/slurm-cluster.sh status [STATE]   show node and jobs; fails when the cluster is not up
#   tools/slurm-cluster.sh stop [STATE]     kill its jobs and daemons, remove STATE
# Configuration, logs, key and sockets lie in the folder STATE, default target/slurm. All daemons
# run as the calling user. Unless that is root, only this user's jobs can run.
set -euo pipefail

tools_dir=$(cd "$(dirname "$0")" && pwd)
# Seconds until the node must be idle. It takes 2 where nothing else runs.
start_timeout=60
# Not the usual ports: this machine may be part of a real cluster.
controller_port=26817
node_port=26818
# Debian has the daemons where only root's PATH looks.
PATH="$PATH:/usr/sbin:/sbin"

# What is printed on standard output is for eval.
say() { printf 'slurm-cluster: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

usage="usage: $0 start | status | stop [STATE]"
if [ $# -lt 1 ] || [ $# -gt 2 ]; then fail "$usage"; fi
host=$(hostname -s)
state=$(realpath -m "${2:-$tools_dir/../target/slurm}")
conf=$state/slurm.conf
# These would mean something in slurm.conf, or to eval.
if [[ $state =~ [^A-Za-z0-9/._+-] ]]; then fail "choose a simpler name for the folder: $state"; fi
# The socket of a job's step is $state/node/${host}_JOB.STEP: 108 bytes at most, as for any socket.
[ $((${#state} + ${#host})) -le 75 ] || fail "choose a shorter name for the folder: $state"

# has_environment /proc/PID PATTERN_FOR_GREP...
has_environment() { grep -zq "${@:2}" "$1/environ" 2>/dev/null; }

# The pids of all that runs with this STATE. Pid files would not do: they can be stale, and a job
# and its slurmstepd outlive slurmd. A daemon is known by a file of STATE that it holds open
# (slurmstepd: slurmd's log), a process of a job by the environment which slurmd gave it.
cluster_processes() {
  local process
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      munged | slurmctld | slurmscriptd | slurmd | slurmstepd)
        [[ $'\n'$(readlink "$process"/fd/* 2>/dev/null) == *$'\n'"$state"/* ]] || continue
        ;;
      # They would wait for the daemons' return.
      srun | salloc | sbatch)
        has_environment "$process" -xF "SLURM_CONF=$conf" || continue
        ;;
      *)
        has_environment "$process" -xF "SLURM_CONF=$conf" || continue
        # A shell that starts jobs is like this as well.
        has_environment "$process" '^SLURM_JOB_ID=' || continue
        ;;
    esac
    printf '%s\n' "${process#/proc/}"
  done
}

take_down() {
  local pids deadline=$((SECONDS + 10))
  # Repeated, as slurmd may be starting a job that is not to be seen yet.
  while pids=$(cluster_processes) && [ -n "$pids" ]; do
    # shellcheck disable=SC2086  # several pids
    [ "$SECONDS" -lt "$deadline" ] || fail "these processes do not end:" $pids
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  # Never a folder that this script did not make.
  if [ -e "$conf" ]; then rm -rf --one-file-system "$state"; fi
}

# A state that ends in * is that of a node which does not answer.
node_is_up() {
  [ -e "$conf" ] || return 1
  case $(SLURM_CONF=$conf timeout 5 sinfo --noheader --format=%T 2>/dev/null) in
    idle | mixed | allocated | completing) ;;
    *) return 1 ;;
  esac
}

write_configuration() {
  local user memory
  user=$(id -un)
  memory=$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)
  # - The daemons are told to be on the loopback address. They listen on all others too, but reject
  #   what is not signed with the key of this cluster's munged.
  # - CR_CPU: were memory counted, a job that asks for none would get all, and run alone.
  # - batch_sched_delay: a job starts within a second, not within three.
  # - config_overrides: CPUs are taken as said here, whatever slurmd makes of the hardware.
  # - linuxproc, task/none and no job accounting: all of them work without cgroups.
  cat >"$conf" <<END
ClusterName=scvae
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdLogFile=$state/log/slurmd
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE
END
}

# What is done when this script ends before the cluster is up, for whatever reason.
give_up() {
  # The logs go with the folder.
  tail -n 15 "$state"/log/* >&2 2>/dev/null || true
  take_down
  say "the cluster did not start (the last lines of its logs are above), and nothing is left of it"
}

start() {
  local port deadline
  if node_is_up; then
    say "runs already"
  else
    "$tools_dir/install-deps.sh" slurm-wlm munge >&2
    # What an earlier cluster left, if the machine went down with it for example.
    take_down
    [ -z "$(ls -A "$state" 2>/dev/null)" ] || fail "$state is in use for something else"
    for port in $controller_port $node_port; do
      if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "port $port is taken. Does a cluster run with another state folder?"
      fi
    done
    mkdir -p "$state"/{controller,node,log}
    trap give_up EXIT
    write_configuration
    # A munged of our own, though the machine may have one: with it, no one else can start jobs
    # here. --force: folders above STATE may be closed to others, or open to a group.
    (umask 077 && head -c 128 /dev/urandom >"$state/munge.key")
    munged --force --socket="$state/munge.socket" --key-file="$state/munge.key" \
      --pid-file="$state/munged.pid" --seed-file="$state/munged.seed" \
      --log-file="$state/log/munged"
    slurmctld -f "$conf"
    slurmd -f "$conf"
    deadline=$((SECONDS + start_timeout))
    until node_is_up; do
      [ "$SECONDS" -lt "$deadline" ] || fail "the node is not idle after $start_timeout seconds"
      sleep 0.5
    done
    trap - EXIT
    say "runs, with $(nproc) CPUs"
  fi
  printf 'export SLURM_CONF=%s\n' "$conf"
}

case $1 in
  start) start ;;
  status)
    node_is_up || fail "no cluster runs with the state folder $state"
    export SLURM_CONF=$conf
    sinfo
    squeue
    ;;
  stop)
    take_down
    ;;
  *) fail "$usage" ;;
esac
