# The checkout with every pinned package (docs/how_to/your_hardware.md).
FROM python:3.11-slim

RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile requirements.lock ./
RUN make setup && .venv/bin/pip install --quiet ray==2.60.0
COPY . .
ENV PATH=/app/.venv/bin:$PATH PYTHONPATH=/app
ENTRYPOINT ["python", "run_benchmark.py"]
