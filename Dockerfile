# The service and a folder of artifacts, in an image; docs/operations.md has the commands.
#   EXTRAS     what is installed: onnx,openvino,serve,volumes for processors,
#              onnx-gpu,serve,volumes for NVIDIA GPUs
#   ARTIFACTS  the folder that is packed, below this one
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=onnx,openvino,serve,volumes
RUN python -m venv /opt/latentserve
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY runtime runtime
COPY bento bento
RUN /opt/latentserve/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# The same Python as above: the environment refers to it.
FROM python:${PYTHON}-slim
ARG ARTIFACTS=artifacts
RUN useradd --create-home --uid 10001 latentserve
COPY --from=build /opt/latentserve /opt/latentserve
COPY ${ARTIFACTS} /artifacts
# What the NVIDIA container toolkit makes visible; without a GPU they mean nothing.
ENV PATH=/opt/latentserve/bin:$PATH \
    LATENTSERVE_ARTIFACTS=/artifacts \
    LATENTSERVE_CACHE=/home/latentserve/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# By number, so that an orchestrator sees that it is not root.
USER 10001
WORKDIR /home/latentserve
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/livez', timeout=4)"]
ENTRYPOINT ["latentserve"]
# A container is reached from outside on all its addresses; which of the host's, `docker run` says.
CMD ["serve", "--host", "0.0.0.0", "--port", "3000"]
