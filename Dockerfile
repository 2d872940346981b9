# Built in one stage, run in another: no compiler and no pip cache in what is deployed. Name the base by its digest to have
# the same one each time: --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/ipam && /opt/ipam/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY docs/errors.md docs/
COPY ipam ipam
RUN /opt/ipam/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/ipam/bin/pip uninstall --yes setuptools

FROM ${PYTHON_IMAGE}
RUN useradd --system --create-home --uid 10001 ipam
COPY --from=build /opt/ipam /opt/ipam
ENV PATH="/opt/ipam/bin:$PATH" PYTHONUNBUFFERED=1
USER ipam
WORKDIR /home/ipam
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["ipam"]
# Who can reach the container is for `docker run -p` to say.
CMD ["serve", "--host", "0.0.0.0", "--insecure"]
