# step.sh COUNT EXPORT... FOLDER PROGRAM ARGUMENT...
# Runs one script of a buildpack in its folder, after the export files of the buildpacks before it. Those are
# sourced here, outside any function: in one, their `declare -x` would stay local.
__count=$1
shift
while [ "$__count" -gt 0 ]; do
  [ -f "$1" ] && . "$1" </dev/null
  shift
  __count=$((__count - 1))
done
unset __count
cd "$1" || exit 1
shift
exec "$@"
