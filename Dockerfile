# The proxy as an image: no compiler, no root, a read-only root filesystem, one volume.
#   docker build -t orch .
#   docker run --read-only -v orch-data:/data -e ORCH_ADMIN_KEY=… -e OPENAI_API_KEY=… -p 127.0.0.1:4000:4000 orch
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY bootstrap.lock requirements.lock ./
RUN python -m venv /opt/orch \
    && python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r bootstrap.lock \
    && /opt/uv/bin/uv pip install --no-cache --python /opt/orch/bin/python --require-hashes --compile-bytecode \
       -r requirements.lock
COPY pyproject.toml README.md ./
COPY policies policies
COPY proxy proxy
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/orch/bin/python --no-deps --no-build-isolation \
       --compile-bytecode . \
    && install -d -m 0700 -o 10001 -g 10001 /data

FROM python:3.11-slim-bookworm
ENV PATH=/opt/orch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/orch /opt/orch
COPY --from=build --chown=10001:10001 /data /data
COPY deploy/docker/config.yaml /etc/orch/config.yaml
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/opt/orch/bin/python", "-I", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:4000/readyz', timeout=3)"]
ENTRYPOINT ["/opt/orch/bin/orch"]
CMD ["serve", "--config", "/etc/orch/config.yaml"]
