#!/bin/bash
# Runs one build inside its box: unpacks the source, runs the buildpacks in order, reads the process types.
# What it prints is the build's output, in Heroku's words and order (contract, section 5). The end is told to
# the host in $out/result: fields that end with NUL, three a record.
. /run/build/settings
tools=/run/build
declare -a exports=()
last_release=
detected=

record() { printf '%s\0%s\0%s\0' "$1" "$2" "$3" >>"$out/result"; }
fail() { # id, sentence
  record failure "$1" "$2"
  exit 1
}
indent() { sed 's/^/       /'; }
# A script of buildpack number $1, with the environment that buildpacks are promised and no input.
step() {
  local index=$1
  shift
  bash "$tools/step.sh" "${#exports[@]}" "${exports[@]}" "${packs[$index]}" "$@" </dev/null
}

if ! newest=$(perl "$tools/unpack.pl" "$source" "$build" "$source_bytes" "$source_entries" "$strip" 2>"$out/fault"); then
  sentence=$(head -c 500 "$out/fault" | head -n 1)
  echo " !     ${sentence:-The source could not be unpacked.}"
  fail source_refused "${sentence:-The source could not be unpacked.}"
fi
rm -f "$source"
record time newest "$newest"
perl "$tools/manifest.pl" slugignore "$build"

for index in "${!packs[@]}"; do
  [ -n "${archives[$index]}" ] || continue
  if ! perl "$tools/unpack.pl" "${archives[$index]}" "${packs[$index]}" "$source_bytes" "$source_entries" strip >/dev/null 2>"$out/fault"; then
    sentence="The buildpack ${names[$index]} cannot be unpacked: $(head -c 500 "$out/fault" | head -n 1)"
    echo " !     $sentence"
    fail buildpack_refused "$sentence"
  fi
  rm -f "${archives[$index]}"
done
for index in "${!packs[@]}"; do
  if ! [ -f "${packs[$index]}/bin/detect" ] || ! [ -f "${packs[$index]}/bin/compile" ]; then
    sentence="${names[$index]} is no buildpack: it has no bin/detect and bin/compile."
    echo " !     $sentence"
    fail buildpack_refused "$sentence"
  fi
  chmod a+x "${packs[$index]}"/bin/* 2>/dev/null
done

echo "-----> Building on the $stack_name stack"
if [ "$choose" = yes ]; then
  echo "-----> Determining which buildpack to use for this app"
  declare -a fitting=() labels=()
  for index in "${!packs[@]}"; do
    if label=$(step "$index" bin/detect "$build" 2>/dev/null); then
      fitting+=("$index")
      labels+=("$label")
    fi
  done
  if [ "${#fitting[@]}" = 0 ]; then
    echo " !     No default language could be detected for this app."
    printf '\t\t\tHINT: This occurs when Sluice cannot detect the buildpack to use for this application automatically.\n'
    printf '\t\t\tAdd package.json, requirements.txt or index.html, or set one: sluice buildpacks:set <name or git URL>\n'
    fail no_buildpack "No default language could be detected for this app; set a buildpack, or add package.json, requirements.txt or index.html."
  fi
  if [ "${#fitting[@]}" -gt 1 ]; then
    echo " !     Warning: Multiple default buildpacks reported the ability to handle this app. The first buildpack in the list below will be used."
    printf '\t\t\tDetected buildpacks: %s\n' "$(IFS=,; echo "${labels[*]}")"
  fi
  order=("${fitting[0]}")
elif [ "${#packs[@]}" = 1 ]; then
  echo "-----> Using buildpack: ${names[0]}"
  order=(0)
else
  echo "-----> Using buildpacks:"
  for index in "${!names[@]}"; do echo "       $((index + 1)). ${names[$index]}"; done
  order=("${!packs[@]}")
fi

for index in "${order[@]}"; do
  pack=${packs[$index]}
  if ! detected=$(step "$index" bin/detect "$build" 2>"$out/detect"); then
    echo "-----> App not compatible with buildpack: ${names[$index]}"
    { [ -z "$detected" ] || printf '%s\n' "$detected"; cat "$out/detect"; } | indent
    echo
    echo "       More info: the app lacks the files by which this buildpack knows its apps; set another buildpack."
    fail not_compatible "The app is not compatible with the buildpack ${names[$index]}; set another with sluice buildpacks:set."
  fi
  echo "-----> $detected app detected"
  record buildpack "${names[$index]}" "$detected"
  mkdir -p "$(dirname "$cache")"
  step "$index" bin/compile "$build" "$cache" "$env_dir"
  status=$?
  if [ -f "$pack/bin/report" ]; then
    step "$index" bin/report "$build" "$cache" "$env_dir" >/dev/null 2>&1
  fi
  if [ "$status" != 0 ]; then
    echo " !     Push rejected, failed to compile $detected app."
    fail compile_failed "Failed to compile $detected app: bin/compile of ${names[$index]} ended with status $status; its output says why."
  fi
  if ! [ -d "$build" ] || [ -L "$build" ]; then
    echo " !     The buildpack ${names[$index]} removed the app's folder."
    fail compile_failed "The buildpack ${names[$index]} removed the app's folder."
  fi
  # The one after the last decides; those of earlier buildpacks are ignored.
  : >"$out/release"
  if [ -f "$pack/bin/release" ] && ! step "$index" bin/release "$build" >"$out/release"; then
    echo " !     Push rejected, bin/release of ${names[$index]} failed."
    fail release_failed "bin/release of ${names[$index]} failed."
  fi
  [ -f "$pack/export" ] && exports+=("$pack/export")
done

declared=
: >"$out/procfile"
if [ -f "$build/Procfile" ]; then
  if ! perl "$tools/manifest.pl" procfile "$build/Procfile" >"$out/procfile" 2>"$out/fault"; then
    sentence=$(head -n 1 "$out/fault")
    echo "-----> Discovering process types"
    echo " !     $sentence"
    fail procfile_invalid "$sentence"
  fi
fi
perl "$tools/manifest.pl" release "$out/release" >"$out/defaults"
names_of() { # file, kind
  local kind key value
  while IFS= read -r -d '' kind && IFS= read -r -d '' key && IFS= read -r -d '' value; do
    [ "$kind" = type ] && printf '%s\n' "$key"
  done <"$1"
}
declared=$(names_of "$out/procfile" | sort)
defaults=$(comm -13 <(echo "$declared") <(names_of "$out/defaults" | sort) | sed '/^$/d')
join() { [ -n "$1" ] && sed -z 's/\n$//; s/\n/, /g' <<<"$1" || printf '(none)'; }
echo "-----> Discovering process types"
if [ -n "$defaults" ]; then
  echo "       Procfile declares types     -> $(join "$declared")"
  echo "       Default types for buildpack -> $(join "$defaults")"
else
  echo "       Procfile declares types -> $(join "$declared")"
fi
echo
# Later records win: the Procfile's types over the buildpack's.
cat "$out/defaults" "$out/procfile" >>"$out/result"
record done ok "$detected"
