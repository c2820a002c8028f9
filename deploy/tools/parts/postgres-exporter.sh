# postgres_exporter: what PostgreSQL says of itself, for tests/deploy/test_every_query.py. Go checks the module against its checksum
# database, we against the pinned sum; what it is made of is held by its own go.sum, as it is built in its own folder (`go install` would
# also ask for the list of all its versions, which not every proxy gives).
version=v0.19.1
sum=h1:5qEW78eJYYImZukEEw2iy//tNlTmhmt3mMc+AVGR6LU=
binary="$CACHE/bin/postgres_exporter-$version"
if [ ! -x "$binary" ]; then
  if ! have go; then
    missing "postgres_exporter $version" "it is built with Go; install Go 1.26 or newer (go.dev/dl) and run make deploy-tools again"
  elif ! found="$(cd "$CACHE" && go mod download -json "github.com/prometheus-community/postgres_exporter@$version")"; then
    missing "postgres_exporter $version" "go mod download failed; connect the network and run make deploy-tools again"
  elif ! grep -qF "\"Sum\": \"$sum\"" <<<"$found"; then
    missing "postgres_exporter $version" "the module's checksum is not $sum"
  elif ! (cd "$(sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p' <<<"$found")" \
    && GOTOOLCHAIN=local timeout 900 go build -trimpath -o "$binary.new" ./cmd/postgres_exporter); then
    missing "postgres_exporter $version" "go build failed or took more than 15 minutes; run make deploy-tools again"
  else
    mv "$binary.new" "$binary"
  fi
fi
