#!/bin/sh
# Installs one service, with exactly the libraries that it needs and no others, into a new virtual environment:
#
#   sh deploy/image/install.sh SERVICE ENVIRONMENT      SERVICE: ingest, kpi, ticketing, recovery; tools: the closedloop command
#
# at the root of the repository, with uv on the PATH. The image's builder stage runs it, and so does tests/deploy/test_image.py.
# Versions and hashes are those of requirements.lock: nothing else can come in.
set -eu
service=$1
environment=$2

case "$service" in
  ingest | kpi | ticketing | recovery)
    needs=services/$service
    packages="libs/common services/$service"
    start="$environment/bin/python -m closedloop.$service"
    ;;
  tools)
    # of `local` only the token issuer is used here: without the Java and the PostgreSQL that it brings for one machine
    needs=libs/cli
    packages="libs/common libs/cli local"
    start="$environment/bin/closedloop"
    ;;
  *)
    echo "SERVICE=$service: choose ingest, kpi, ticketing, recovery or tools" >&2
    exit 1
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# libraries ENVIRONMENT FILE: what FILE names, and what that needs in turn, as locked
libraries() {
  uv pip compile --quiet --python "$1/bin/python" --constraint requirements.lock --no-header --no-annotate \
    --no-emit-package closedloop-common --output-file "$work/needed.txt" "$2"
  uv pip install --quiet --python "$1/bin/python" --require-hashes --no-deps \
    --constraint requirements.lock --requirement "$work/needed.txt"
}

echo hatchling > "$work/building.in"
uv venv --quiet --python "$(command -v python3)" "$work/building"
libraries "$work/building" "$work/building.in"
for package in $packages; do
  uv build --quiet --wheel --no-build-isolation --python "$work/building/bin/python" --out-dir "$work/wheels" "$package"
done

uv venv --quiet --python "$(command -v python3)" "$environment"
libraries "$environment" "$needs/pyproject.toml"
uv pip install --quiet --python "$environment/bin/python" --no-deps --no-index "$work"/wheels/*.whl

printf '#!/bin/sh\nexec %s "$@"\n' "$start" > "$environment/bin/service"
cp deploy/image/healthy.py "$environment/bin/healthy"
chmod 755 "$environment/bin/service" "$environment/bin/healthy"
