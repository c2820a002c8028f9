# promtool and prometheus: Debian's package (apt checks its signature), unpacked into the cache: no root needed, nothing started.
target="$CACHE/prometheus"
if ! { have promtool && have prometheus; } && [ ! -x "$target/promtool" ]; then
  unpacked="$(mktemp -d)"
  trap 'rm -rf "$unpacked"' EXIT
  if ! have apt-get; then
    missing "promtool" "it is taken from Debian's package prometheus; install Prometheus 2.42 or newer so that promtool and prometheus are on the PATH"
  elif ! (cd "$unpacked" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>"$unpacked/said" \
    && dpkg -x prometheus_*.deb .); then
    missing "promtool" "apt-get download prometheus: $(tail -1 "$unpacked/said"); run apt-get update as root, then make deploy-tools again"
  else
    mkdir -p "$target" && mv "$unpacked/usr/bin/prometheus" "$unpacked/usr/bin/promtool" "$target/"
  fi
fi
