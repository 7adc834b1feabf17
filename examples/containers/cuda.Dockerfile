# gpubench for machines with NVIDIA GPUs. To be built in the root of the repository:
#   docker build -f examples/containers/cuda.Dockerfile -t gpubench:cuda .
# docs/containers.md explains the arguments of the build and how to run the image.

# The digest decides what is used. The tag before it only tells people what it is. CUDA's libraries come
# with PyTorch's wheels, so the smallest image is enough. It refuses drivers that are too old for them.
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04@sha256:f8ef28f579ea42a44b415d2c5d46f788e6a9b395c6c83f2929416e1fc192c143

FROM ${BASE} AS wheel
# Without versions: Ubuntu's mirrors keep only the latest one. Nothing of this is part of the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY examples/containers/constraints.txt ./
# Versions of pip before 25.3 read the first variable for the tools of the build, later ones the second.
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
COPY CMakeLists.txt LICENSE README.md pyproject.toml ./
COPY cmake cmake
COPY csrc csrc
COPY gpubench gpubench
RUN python3 -m venv /build \
    && /build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .
ARG EXTRAS="s3,gs,az,onnxruntime-gpu"
COPY examples/containers/dependencies.py ./
RUN python3 dependencies.py pyproject.toml "${EXTRAS}" > requirements.txt

FROM ${BASE}
LABEL org.opencontainers.image.title="gpubench" \
      org.opencontainers.image.description="What does an inference cost, and how fast is it? For NVIDIA GPUs." \
      org.opencontainers.image.licenses="Apache-2.0"

# Ubuntu packages besides Python. The runtimes compile and aotinductor need "g++ python3-dev".
ARG PACKAGES=""
# PACKAGES is without quotes (SC2086) because it is a list of words.
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv ${PACKAGES} \
    && rm -rf /var/lib/apt/lists/*

# Any user ID may be given to `docker run --user`, so these two folders are writable for all, as /tmp is.
RUN useradd --uid 10001 --no-create-home --home-dir /home/gpubench gpubench \
    && install --directory --mode=1777 /home/gpubench /data

# A further index of packages, such as PyTorch's own index of wheels for another version of CUDA.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /opt/gpubench
# What gpubench needs, as a layer that stays the same when only gpubench's own code changes.
COPY --from=wheel /src/constraints.txt /src/requirements.txt ./
RUN python3 -m venv . \
    && bin/pip install --no-cache-dir --only-binary=:all: --constraint constraints.txt --requirement requirements.txt
COPY --from=wheel /wheel wheel
RUN bin/pip install --no-cache-dir --no-deps --no-index wheel/*.whl

# HOME has the caches: engines, models from hubs, kernels. A user ID without a name needs USER.
ENV PATH=/opt/gpubench/bin:${PATH} \
    HOME=/home/gpubench \
    USER=gpubench \
    PYTHONUNBUFFERED=1 \
    GPUBENCH_HEALTH_FILE=/tmp/gpubench-health
USER 10001:10001
WORKDIR /data

# A worker renews this file whenever it has reached its run directory; docs/containers.md says more.
HEALTHCHECK --interval=60s --timeout=10s --retries=3 \
    CMD ["sh", "-c", "test ! -e $GPUBENCH_HEALTH_FILE || find $GPUBENCH_HEALTH_FILE -mmin -4 | grep -q ."]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gpubench"]
CMD ["--help"]
