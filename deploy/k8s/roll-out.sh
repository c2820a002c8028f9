#!/usr/bin/env bash
# Roll a version out: migrations to their end, then the services, then wait until they are ready.
#   deploy/k8s/roll-out.sh deploy/k8s/overlays/prod
# Stops at the first failure: with a migration that failed the services of before go on as they are.
# It was NOT run on a cluster, because none was there where it was written: tests/deploy/test_kubernetes.py runs it with a kubectl that
# only plays one.
set -euo pipefail
overlay=${1:?which overlay, such as deploy/k8s/overlays/prod}
jobs=(-l app.kubernetes.io/name=migrate)
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml")
echo "migrations in $namespace"
# a job's pod cannot be changed: those of the last roll-out go
kubectl -n "$namespace" delete job "${jobs[@]}" --ignore-not-found
kubectl apply -k "$overlay/migrations"
# asked again and again, as `kubectl wait` waits for one condition only: a job that has failed would hold it to the end
conditions='{range .items[*]}{.metadata.name}{range .status.conditions[?(@.status=="True")]} {.type}{end}{"\n"}{end}'
deadline=$((SECONDS + 1860)) # the jobs' own activeDeadlineSeconds, and a minute for Kubernetes to say so
while true; do
  found=$(kubectl -n "$namespace" get job "${jobs[@]}" -o jsonpath="$conditions")
  : "${found:?there is no migration job in $namespace}"
  going=$(awk '!/ Complete( |$)/ {print $1}' <<<"$found" | xargs)
  failed=$(awk '/ Failed( |$)/ {print $1}' <<<"$found" | xargs)
  [ -n "$going" ] || break
  if [ -n "$failed" ] || ((SECONDS > deadline)); then
    kubectl -n "$namespace" logs "${jobs[@]}" --tail=20 --prefix || true
    if [ -n "$failed" ]; then said="$failed failed"; else said="$going did not end in 31 minutes"; fi
    echo "The migration $said: see its log above. The services in $namespace are as they were; correct the cause and roll out again." >&2
    exit 1
  fi
  sleep 5
done
echo "services in $namespace"
kubectl apply -k "$overlay"
for workload in deployment/ingest statefulset/kpi statefulset/ticketing statefulset/recovery; do
  kubectl -n "$namespace" rollout status "$workload" --timeout=900s
done
