# One image per service:  docker build --build-arg SERVICE=kpi --tag closedloop-kpi .
# SERVICE: ingest, kpi, ticketing, recovery; tools: the closedloop command and the local token issuer.
# It was NOT built where it was written, because no container engine was there. tests/deploy/test_image.py does without one what the
# builder stage does (the same install.sh), and starts the result on a root that cannot be written, without any privilege.
#
# The base is pinned by its exact version. Whoever publishes images pins its digest as well:
#   docker buildx imagetools inspect python:3.11.15-slim-trixie
#   docker build --build-arg PYTHON_IMAGE=python:3.11.15-slim-trixie@sha256:… --build-arg SERVICE=kpi .
# None stands here, because no registry could be asked for a true one.
ARG PYTHON_IMAGE=python:3.11.15-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /source
COPY bootstrap.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r bootstrap.lock
COPY pyproject.toml requirements.lock ./
COPY deploy/image/ deploy/image/
COPY libs/ libs/
COPY local/ local/
COPY services/ services/
ARG SERVICE
RUN --mount=type=cache,target=/root/.cache/uv sh deploy/image/install.sh "${SERVICE}" /venv

FROM ${PYTHON_IMAGE}
ARG SERVICE
LABEL org.opencontainers.image.title="closedloop-${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
# glibc: without it each thread takes memory from, and leaves gaps in, a heap of its own
# a container listens on all of its addresses; who may reach them is for the network around it
ENV SERVICE=${SERVICE} \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    INGEST_HOST=0.0.0.0 INGEST_PORT=8101 \
    KPI_HOST=0.0.0.0 KPI_PORT=8102 \
    TICKETING_HOST=0.0.0.0 TICKETING_PORT=8103 \
    RECOVERY_HOST=0.0.0.0 RECOVERY_PORT=8104
COPY --from=builder /venv /venv
# where the tools keep the local issuer's keys: a new volume takes over this owner, who is not the services' user
RUN install -d -o 65533 -g 65533 /state
# a number, so that Kubernetes' runAsNonRoot can tell; owns nothing, writes nothing: the root may be read-only
USER 65532:65532
EXPOSE 8101 8102 8103 8104
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["healthy"]
ENTRYPOINT ["service"]
CMD ["serve"]
