# The operators' resource definitions, which the custom resources in deploy/k8s are checked against.
.venv/bin/python deploy/tools/operator_crds.py "$CACHE/crds"
