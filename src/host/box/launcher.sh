#!/bin/sh
# Starts one box and stays as its first process: `launcher.sh FOLDER`, and within the new namespaces once more
# as `launcher.sh FOLDER in`. FOLDER/launch, made by the host, sets the variables used here; FOLDER/run is
# read and executed by the box's own user. Descriptors: 3 life (its end tells the host that the box is gone),
# 4 the stderr of the box, 5 and 6 its output FIFOs held open, 7 status, 8 the host's leave to go, 9 run.
set -eu
box=$1
. "$box/launch"

if [ $# = 1 ]; then
  exec 4>&2 2>>"$box/fault" 3<>"$box/life"
  # 0 is the writer itself; a number would mean another process in another namespace.
  for group in $groups; do echo 0 >"$group/cgroup.procs"; done
  echo "$$" >"$box/pid"
  echo "pid $$" >&3
  exec $enter /bin/sh "$0" "$box" in
fi

exec 7>"$box/status" 8<>"$box/ack" 9<"$box/run"
if [ "$output" = fifo ]; then
  # Held open for reading and writing: what is printed while no host reads is kept, and nobody gets a SIGPIPE.
  exec 5<>"$box/out" 6<>"$box/err"
  exec 1>"$box/out" 4>"$box/err" </dev/null
fi
# The kernel shall choose a process of the app before this one; `run` sets it back for the app.
echo -900 >/proc/self/oom_score_adj 2>/dev/null || :
mount -n -a -T "$box/fstab"
# In a user's namespace the file is the machine's root's, and the system call is what is left.
{ echo "$name" >/proc/sys/kernel/hostname; } 2>/dev/null || hostname "$name" 2>/dev/null || :
cd "$box/root"
pivot_root . .
umount -n -l .
cd /

set +e
# In the foreground: dash gives a background command SIGINT and SIGQUIT ignored. In a subshell: what this
# shell says of a killed command is not the command's output.
(exec $drop /bin/sh /proc/self/fd/9 2>&4 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-)
status=$?
# Whatever the command left behind ends with it.
kill -KILL -1 2>/dev/null
echo "$status" >&7
echo "end $status" >&3
# Stay, so that the FIFOs keep what is still in them, until the host has read it.
read -r leave <&8
exit "$status"
