#!/usr/bin/env bash
# Builds the real parts that the end-to-end tests and the demo run on: Kubernetes, etcd, containerd, runc, the CNI
# plugins, the reference registry, helm, cosign, Prometheus, Flagger and Argo Rollouts, and the Go library that ranges are compared with, each from its
# Go module beside this file, into a cache shared by all clones.
#
# Usage: build.sh [PART ...]     builds what is missing (all parts without an argument), one line of progress a part
#        build.sh --print DIR?   no build: prints the folder of each part's programs, as "part folder"
#
# A file `tags` beside the module holds its build tags: Prometheus goes without the clients of two dozen clouds.
# A part's folder is named by a hash of its module and of how it is built: an edit builds anew, an old clone keeps its own.
# Two builds at once wait for each other; a build that is cut off leaves nothing half done (built beside, then renamed).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rollforward/parts
all="etcd cni runc registry masterminds firewall containerd helm cosign prometheus flagger argo kubernetes"

# The hash holds `build` as it stands, not this file: another part in the list rebuilds nothing.
folder() { printf '%s/%s-%s' "$cache" "$1" "$({ cat "$here/$1/"go.* "$here/$1/"*.go "$here/$1/tags" 2>/dev/null || true; declare -f build; } | sha256sum | cut -c1-12)"; }

need() { # program, what it is for, how to get it
  command -v "$1" >/dev/null 2>&1 || { printf 'missing: %s (%s). Install it: %s\n' "$1" "$2" "$3" >&2; exit 3; }
}

build() {
  local part=$1 out tmp started flags tags cgo
  out=$(folder "$part")
  [ -e "$out/.done" ] && return 0
  need go "builds the Kubernetes parts" "see your distribution's golang package, version 1.26 or newer"
  flags="-s -w" tags=$(cat "$here/$part/tags" 2>/dev/null || true) cgo=0
  case $part in
    kubernetes)
      local v; v=$(sed -n 's/^\s*k8s.io\/kubernetes v\([0-9.]*\).*/\1/p' "$here/$part/go.mod" | head -n 1)
      local p=k8s.io/component-base/version
      flags="$flags -X $p.gitVersion=v$v -X $p.gitMajor=${v%%.*} -X $p.gitMinor=$(echo "$v" | cut -d. -f2)" ;;
    runc)
      need gcc "compiles runc" "apt-get install gcc"
      need pkg-config "finds libseccomp" "apt-get install pkg-config"
      pkg-config --exists libseccomp || { printf 'missing: libseccomp headers (runc refuses pods with a seccomp profile without them). Install them: apt-get install libseccomp-dev\n' >&2; exit 3; }
      tags=seccomp cgo=1 ;;
  esac
  started=$SECONDS
  printf 'building %s (once, kept in %s)\n' "$part" "$out" >&2
  tmp=$(mktemp -d "$cache/.$part.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  ( cd "$here/$part" && CGO_ENABLED=$cgo GOFLAGS="-mod=readonly -buildvcs=false" GOBIN=$tmp go install -trimpath -tags "$tags" -ldflags "$flags" tool )
  for name in v3 server; do [ -e "$tmp/$name" ] && mv "$tmp/$name" "$tmp/etcd"; done
  touch "$tmp/.done"
  rm -rf "$out"
  mv "$tmp" "$out"
  trap - EXIT
  printf 'built %s in %d s\n' "$part" "$((SECONDS - started))" >&2
}

if [ "${1:-}" = --print ]; then
  for part in $all; do printf '%s %s\n' "$part" "$(folder "$part")"; done
  exit 0
fi

# What is there already needs no turn: a clone that lacks nothing does not wait for another's new part.
missing=0
for part in ${*:-$all}; do [ -e "$(folder "$part")/.done" ] || missing=1; done
[ "$missing" = 1 ] || exit 0
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
for part in ${*:-$all}; do
  case " $all " in *" $part "*) build "$part" ;; *) printf 'unknown part %s; parts are: %s\n' "$part" "$all" >&2; exit 2 ;; esac
done
