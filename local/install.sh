#!/usr/bin/env bash
# Runs an installer, with its progress. Where it fails it is asked once more, for what it says: and that becomes a sentence with the way out.
"$@" && exit 0
said=$(LC_ALL=C "$@" 2>&1) && exit 0
case $said in
  *"No space left on device"* | *"Disk quota exceeded"*)
    echo "The disk is full: free 2 GB here, or where the package cache lies (UV_CACHE_DIR), and run the same command again." ;;
  *"error sending request"* | *"Failed to fetch"* | *"network was disabled"* | *"Failed to establish a new connection"* | *"Temporary failure"* \
    | *"Name or service not known"* | *"onnection broken"* | *"timed out"* | *"(from versions: none)"*)
    echo "The package index did not answer: the first start needs the network. Connect it and run the same command again." ;;
  *)
    echo "$said"
    echo "The installation did not end well, and it is neither the disk nor the network: what it said stands above. Remove .venv and try again." ;;
esac >&2
exit 1
