FROM python:3.13-slim AS build
COPY . /src
RUN python -m venv /opt/nedr && /opt/nedr/bin/pip install --no-cache-dir -c /src/constraints.txt '/src[web,heif]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home nedr
COPY --from=build /opt/nedr /opt/nedr
ENV PATH=/opt/nedr/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["nedr", "serve", "--host", "0.0.0.0"]
