# As many processes as the dyno's memory holds, for apps that start a cluster of WEB_CONCURRENCY.
sluice_memory() {
  local bytes file
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    [ -r "$file" ] && bytes=$(cat "$file") && break
  done
  case ${bytes:-max} in
    max | ????????????????*) echo 512 ;;
    *) echo $((bytes / 1048576 / 2)) ;;
  esac
}
export MEMORY_AVAILABLE=${MEMORY_AVAILABLE:-$(sluice_memory)}
export WEB_MEMORY=${WEB_MEMORY:-512}
if [ -z "${WEB_CONCURRENCY:-}" ]; then
  WEB_CONCURRENCY=$((MEMORY_AVAILABLE / WEB_MEMORY))
  [ "$WEB_CONCURRENCY" -lt 1 ] && WEB_CONCURRENCY=1
fi
export WEB_CONCURRENCY
unset -f sluice_memory
