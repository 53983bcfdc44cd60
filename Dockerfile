# One image for every role; NOTIFY_REGION, NOTIFY_ROLE and the settings choose the worker. config/ is mounted, not copied.
#   docker build .               production: what requirements-runtime.lock names; no devtools, no compiler, no pip
#   docker build --target dev .  also devtools/ and the local stack: `notify-streams stack|run|demo|bench|chaos`
# For linux/amd64 and linux/arm64: docker buildx build --platform linux/amd64,linux/arm64 .
# Labels: --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE=<URL of the repository>
FROM python:3.11-slim AS compiler
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/notify-streams
ENV PATH=/opt/notify-streams/bin:$PATH
WORKDIR /build
COPY requirements-build.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.lock

FROM compiler AS build
COPY requirements-runtime.lock ./
# Built from their sdists: http-ece has no wheel, faust-streaming none for arm64. The compiler's absence would leave out Faust's
# extensions without an error, so they are imported.
RUN pip install --require-hashes --no-build-isolation --only-binary :all: --no-binary faust-streaming,http-ece -r requirements-runtime.lock \
    && python -c "import faust._cython.streams, faust._cython.windows, faust.transport._cython.conductor"
COPY setup.cfg pyproject.toml ./
# The page shows them: notify_streams/web/pages/runbooks.md is a link.
COPY docs/runbooks.md docs/runbooks.md
COPY notify_streams notify_streams
COPY agents agents
COPY tables tables
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes cython setuptools-scm vcs-versioning wheel setuptools pip \
    && notify-streams --version

FROM compiler AS build-dev
COPY requirements.lock ./
RUN pip install --require-hashes --no-build-isolation --only-binary :all: --no-binary faust-streaming,http-ece,dkimpy -r requirements.lock
COPY setup.cfg pyproject.toml ./
# The page shows them: notify_streams/web/pages/runbooks.md is a link.
COPY docs/runbooks.md docs/runbooks.md
COPY notify_streams notify_streams
COPY agents agents
COPY tables tables
COPY devtools devtools
# Editable: the local stack keeps its downloads beside the sources.
RUN pip install --no-deps --no-build-isolation --editable . \
    && notify-streams stack --help

FROM python:3.11-slim AS base
RUN groupadd --gid 10001 notify \
    && useradd --uid 10001 --gid notify --no-create-home --home-dir /var/lib/notify-streams --shell /usr/sbin/nologin notify \
    && install --directory --owner notify --group notify /var/lib/notify-streams
ENV PATH=/opt/notify-streams/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NOTIFY_CONFIG_DIR=/etc/notify-streams \
    NOTIFY_DATA_DIR=/var/lib/notify-streams
WORKDIR /var/lib/notify-streams
# A number, because Kubernetes cannot verify by name that the user is not root.
USER 10001:10001
EXPOSE 6066
ENTRYPOINT ["notify-streams"]
CMD ["--help"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
ARG LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="notify-streams" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.source="$SOURCE" \
    org.opencontainers.image.licenses="$LICENSES"

FROM base AS dev
COPY --from=build-dev --chown=10001:10001 /build /build
COPY --from=build-dev /opt/notify-streams /opt/notify-streams

FROM base AS runtime
COPY --from=build /opt/notify-streams /opt/notify-streams
