#!/usr/bin/env bash
# What the tests of deploy/ need beside the lock file: `make deploy-tools`. Into the user's cache; what is there already is left alone.
# What cannot be installed here is named, with the reason, and the exit code is 1; the rest is installed all the same. Tests that need
# what is missing are skipped; in CI nothing may be missing (.ci/run).
set -uo pipefail
cd "$(dirname "$0")/../.."
export CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/closedloop/deploy"
mkdir -p "$CACHE/bin"

missing() { echo "deploy-tools: $1 is not installed: $2" >&2; return 1; }
have() { command -v "$1" >/dev/null 2>&1; }

incomplete=0
for part in deploy/tools/parts/*.sh; do
  # each in a shell of its own: what one part sets, no other sees; it ends with 1 where something is missing
  ( source "$part" ) || incomplete=1
done
exit "$incomplete"
