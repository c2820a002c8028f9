# kustomize: builds the overlays of deploy/k8s. Go checks the module against its checksum database, we against the pinned sum.
version=v5.8.0
sum=h1:CCIJK7z/xJOlkXOaDOcL2jprV53a/eloiL02wg7oJJs=
binary="$CACHE/bin/kustomize-$version"
if [ ! -x "$binary" ]; then
  if ! have go; then
    missing "kustomize $version" "it is built with Go; install Go 1.26 or newer (go.dev/dl) and run make deploy-tools again"
  elif ! GOBIN="$CACHE/bin" GOTOOLCHAIN=local timeout 900 go install "sigs.k8s.io/kustomize/kustomize/v5@$version"; then
    missing "kustomize $version" "go install failed or took more than 15 minutes; run make deploy-tools again"
  elif ! go version -m "$CACHE/bin/kustomize" | grep -qF "$sum"; then
    rm "$CACHE/bin/kustomize"
    missing "kustomize $version" "the module's checksum is not $sum"
  else
    mv "$CACHE/bin/kustomize" "$binary"
  fi
fi
