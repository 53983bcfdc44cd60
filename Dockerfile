# One image for every role; NOTIFY_REGION, NOTIFY_ROLE and the settings choose the worker. config/ is mounted, not copied.
#   docker build .               production: what requirements-runtime.lock names; no devtools, no compiler, no pip
#   docker build --target dev .  also devtools/ and the local stack: `notify-streams stack|run|demo|bench|chaos`
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/notify-streams
ENV PATH=/opt/notify-streams/bin:$PATH
WORKDIR /build
COPY requirements-runtime.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-runtime.lock
COPY setup.cfg pyproject.toml ./
COPY notify_streams notify_streams
COPY agents agents
COPY tables tables
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes setuptools pip \
    && notify-streams --version

FROM python:3.11-slim AS build-dev
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/notify-streams
ENV PATH=/opt/notify-streams/bin:$PATH
WORKDIR /build
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY setup.cfg pyproject.toml ./
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

FROM base AS dev
COPY --from=build-dev --chown=10001:10001 /build /build
COPY --from=build-dev /opt/notify-streams /opt/notify-streams

FROM base AS runtime
COPY --from=build /opt/notify-streams /opt/notify-streams
