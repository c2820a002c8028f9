#!/usr/bin/env bash
# What the tests of deploy/ need beside the lock file: `make deploy-tools`. Into the user's cache; what is there already is left alone.
# What cannot be installed here is named, with the reason; the tests that need it are then skipped. Always ends well.
set -uo pipefail
cd "$(dirname "$0")/../.."
export CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/closedloop/deploy"
mkdir -p "$CACHE/bin"

missing() { echo "deploy-tools: $1 is not installed: $2" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

for part in deploy/tools/parts/*.sh; do
  # each in a shell of its own: what one part sets, no other sees
  ( source "$part" ) || missing "$(basename "$part" .sh)" "see above"
done
exit 0
