# syntax=docker/dockerfile:1

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/weighbridge
COPY requirements.lock ./
RUN /opt/weighbridge/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md pricing.toml ./
COPY proxy ./proxy
RUN /opt/weighbridge/bin/python -m pip install --no-cache-dir --no-build-isolation --no-deps . \
    && /opt/weighbridge/bin/python -m compileall -q /opt/weighbridge/lib

FROM python:3.13-slim
LABEL org.opencontainers.image.title="weighbridge" \
      org.opencontainers.image.description="Metering proxy for OpenAI-compatible APIs" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 weighbridge \
    && useradd --uid 10001 --gid weighbridge --no-create-home --shell /usr/sbin/nologin weighbridge \
    && install -d -o weighbridge -g weighbridge /data
COPY --from=build /opt/weighbridge /opt/weighbridge
COPY pricing.toml /etc/weighbridge/pricing.toml
ENV PATH=/opt/weighbridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PROXY_HOST=0.0.0.0 \
    PROXY_PORT=8080 \
    PROXY_DATABASE_URL=sqlite:////data/weighbridge.db \
    PROXY_PRICING_FILE=/etc/weighbridge/pricing.toml
USER weighbridge
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PROXY_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["weighbridge"]
CMD ["serve"]
