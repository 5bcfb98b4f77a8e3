# Functions of the buildpacks that put a Node into BUILD/.heroku/node. Wants: build, cache, pack.
heading() { echo "-----> $*"; }
say() { echo "       $*"; }
warn() { echo " !     $*"; }
die() {
  for line in "$@"; do warn "$line"; done
  exit 1
}
indent() { sed -u 's/^/       /'; }

mkdir -p "$cache/nodejs"
# What reads JSON here: the platform's Node, or the stack's; the app's own may be from long ago.
reader=
for each in /run/node "$(command -v node)" "$cache"/nodejs/node-*/bin/node; do
  [ -x "$each" ] && reader=$each && break
done
[ -n "$reader" ] || die "There is no Node on this machine that could read package.json; set SLUICE_STACK_DIR to a stack that holds one."

case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) die "There is no Node for this machine ($(uname -m)) in the registry; Sluice builds on x86_64 and arm64." ;;
esac

# resolve PACKAGE RANGE: prints its version; a range asked before is answered from the cache for a day.
resolve() {
  local key answer status
  key="$cache/nodejs/resolved-$(printf '%s %s' "$1" "$2" | cksum | tr ' ' -)"
  if [ -n "$(find "$key" -mtime -1 2>/dev/null)" ]; then
    cat "$key"
    [ -f "$key.near" ] && return 3
    return 0
  fi
  answer=$("$reader" "$pack/lib/registry.js" versions "$1" "$2" 2>"$cache/nodejs/said")
  status=$?
  if [ "$status" = 0 ] || [ "$status" = 3 ]; then
    echo "$answer" >"$key"
    [ "$status" = 3 ] && : >"$key.near" || rm -f "$key.near"
    echo "$answer"
    return "$status"
  fi
  # The registry is away: what was found last time still stands.
  if [ -f "$key" ]; then
    cat "$key"
    return 0
  fi
  return "$status"
}
# fetch PACKAGE VERSION FOLDER: unpacks a package into FOLDER of the cache, whole or not at all.
fetch() {
  [ -d "$3" ] && return 0
  local draft="$3.new"
  rm -rf "$draft" && mkdir -p "$draft"
  "$reader" "$pack/lib/registry.js" get "$1" "$2" "$draft/archive.tgz" 2>"$cache/nodejs/said" || return 1
  tar -xzf "$draft/archive.tgz" -C "$draft" --strip-components=1 --no-same-owner && rm "$draft/archive.tgz" && mv "$draft" "$3"
}
said() { head -c 300 "$cache/nodejs/said" | head -n 1; }

# install_node RANGE: the newest Node of the range, else the nearest that is to be had, with a warning.
# It is still being copied when this returns: other work goes on until node_installed.
install_node() {
  local engine=$1
  say "Resolving node version ${engine:-24.x}..."
  node_version=$(resolve "node-linux-$arch" "$engine")
  case $? in
    0) ;;
    3) warn "Node $engine is not to be had; using the nearest, $node_version." ;;
    2)
      warn "engines.node in package.json, \"$engine\", is not a version range; using the default."
      node_version=$(resolve "node-linux-$arch" "") || die "The registry does not tell which Node there is: $(said)" "Set npm_config_registry for Sluice to one that can be reached."
      ;;
    *) die "The registry does not tell which Node there is: $(said)" "Set npm_config_registry for Sluice to one that can be reached." ;;
  esac
  # A version may be in the registry and hold no program, or one that does not run here: the next one of its major does.
  if ! take_node; then
    local broken=$node_version
    major=${broken%%.*}
    node_version=$(resolve "node-linux-$arch" ">$broken <$((major + 1))") || die_unusable "$broken"
    warn "Node $broken is not to be had for this stack; using the nearest, $node_version."
    take_node || die_unusable "$node_version"
  fi
  major=${node_version%%.*}
  if [ "$major" -lt 20 ]; then
    warn "Node $node_version is no longer maintained: it gets no security fixes. Set engines.node in package.json to a newer one."
  fi
  node_home="$build/.heroku/node"
  rm -rf "$node_home" && mkdir -p "$node_home/bin" "$node_home/lib/node_modules"
  cp "$kept/bin/node" "$node_home/bin/node" &
  node_copy=$!
  [ -f "$kept/LICENSE" ] && cp "$kept/LICENSE" "$node_home/LICENSE"
}
# node_installed: waits for the copy.
node_installed() {
  wait "$node_copy" && chmod 755 "$node_home/bin/node" || die "Node $node_version could not be copied; there may be no space left."
}
die_unusable() {
  warn "Node $1 does not run on this stack: $(said)"
  die "Set engines.node in package.json to a newer version."
}
# Puts node_version into the cache, at $kept; fails, with what it said, where that does not run.
take_node() {
  say "Downloading and installing node $node_version..."
  kept="$cache/nodejs/node-$node_version"
  [ -d "$kept" ] && return 0
  rm -rf "$cache"/nodejs/node-*
  fetch "node-linux-$arch" "$node_version" "$kept" || die "Node $node_version could not be downloaded: $(said)"
  # Headers and documents are no part of a runtime.
  find "$kept" -mindepth 1 -maxdepth 1 ! -name bin ! -name LICENSE ! -name include -exec rm -rf {} +
  chmod 755 "$kept/bin/node" 2>/dev/null
  "$kept/bin/node" -e '' 2>"$cache/nodejs/said" && return 0
  rm -rf "$kept"
  return 1
}
