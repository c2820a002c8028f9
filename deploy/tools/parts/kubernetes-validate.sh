# kubernetes-validate: Kubernetes' own schemas, strict. 22 MB that only the tests of deploy/k8s need, so not in requirements.lock.
target="$CACHE/kubernetes-validate-1.37.0-$(.venv/bin/python -c "import sys; print(sys.implementation.cache_tag)")"
if [ ! -d "$target" ]; then
  if .venv/bin/uv pip install --quiet --python .venv/bin/python --target "$target.new" --require-hashes -r deploy/tools/kubernetes-validate.lock; then
    mv "$target.new" "$target"
  else
    rm -rf "$target.new"
    missing kubernetes-validate "see above; connect the network and run make deploy-tools again"
  fi
fi
