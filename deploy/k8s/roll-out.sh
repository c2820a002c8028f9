#!/usr/bin/env bash
# Roll a version out: migrations to their end, then the services, then wait until they are ready.
#   deploy/k8s/roll-out.sh deploy/k8s/overlays/prod
# Stops at the first failure: with a migration that failed the services of before go on as they are.
set -euo pipefail
overlay=${1:?which overlay, such as deploy/k8s/overlays/prod}
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml")
echo "migrations in $namespace"
# a job's pod cannot be changed: those of the last roll-out go
kubectl -n "$namespace" delete job -l app.kubernetes.io/name=migrate --ignore-not-found
kubectl apply -k "$overlay/migrations"
if ! kubectl -n "$namespace" wait job -l app.kubernetes.io/name=migrate --for=condition=complete --timeout=1800s; then
  kubectl -n "$namespace" logs -l app.kubernetes.io/name=migrate --tail=20 --prefix
  exit 1
fi
echo "services in $namespace"
kubectl apply -k "$overlay"
for workload in deployment/ingest statefulset/kpi statefulset/ticketing statefulset/recovery; do
  kubectl -n "$namespace" rollout status "$workload" --timeout=900s
done
