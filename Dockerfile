# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proxy proxy
# Compiles the modules on the path of every query, or fails.
RUN TIDEGATE_REQUIRE_COMPILED=1 pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels tidegate \
    && groupadd --gid 10001 tidegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin tidegate
# Refuse to serve on the uncompiled twin.
ENV TIDEGATE_REQUIRE_COMPILED=1
RUN tidegate version
USER 10001:10001
EXPOSE 6432
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:9127/livez', timeout=2)"]
ENTRYPOINT ["tidegate"]
CMD ["serve", "--config", "/etc/tidegate/tidegate.toml"]
