# A PostgreSQL with OpenSSL, for the test of TLS: Debian's, as the wheel's has none. Its programs are used; no server of its own is made.
if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
  if ! have apt-get || [ "$(id -u)" != 0 ]; then
    missing "a PostgreSQL with OpenSSL" "as root run apt-get install postgresql; tests look for /usr/lib/postgresql/*/bin/initdb"
  else
    own=/etc/postgresql-common/createcluster.conf
    mkdir -p "${own%/*}" && { [ -e "$own" ] || echo "create_main_cluster = false" >"$own"; }
    install=(apt-get install -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold postgresql)
    export DEBIAN_FRONTEND=noninteractive
    said="$("${install[@]}" 2>&1 >/dev/null)" || said="$({ apt-get update -qq && "${install[@]}"; } 2>&1 >/dev/null)" \
      || missing "a PostgreSQL with OpenSSL" "apt-get install postgresql: $(tail -1 <<<"$said")"
  fi
fi
