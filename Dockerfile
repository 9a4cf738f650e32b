# syntax=docker/dockerfile:1
# One image for the API (`python -m api`), the worker (`python -m worker`) and the `callwallet`
# command. devstack/ and its embedded servers stay out: `callwallet up` and `demo` are for
# developers' machines.

FROM python:3.13-slim AS dependencies
COPY requirements.lock .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes -r requirements.lock \
    && /opt/venv/bin/pip uninstall --yes pip

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    API_HOST=0.0.0.0 \
    LOG_JSON=true
WORKDIR /app
COPY --from=dependencies /opt/venv /opt/venv
COPY . .
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/callwallet
#!/opt/venv/bin/python
from cli import app

app()
SCRIPT
RUN python -m compileall -q /app
USER 10001:10001
EXPOSE 8000
# Alive is whoever answers: without the database /health says 503, and webhooks are still taken.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('API_PORT', '8000')), timeout=4); c.request('GET', '/health'); c.getresponse()"]
CMD ["python", "-m", "api"]
