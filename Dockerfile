FROM python:3.13-slim
COPY . /src
RUN python -m pip install --no-cache-dir -c /src/constraints.txt '/src[web,heif]' && rm -rf /src \
    && useradd --system --uid 10001 --no-create-home nedr
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["nedr", "serve", "--host", "0.0.0.0"]
