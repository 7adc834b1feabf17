# A serverless function on an image of gpubench (examples/containers). In the folder of this file:
#   docker build -f lambda.Dockerfile --build-arg IMAGE=gpubench:cpu -t function .
# It contains everything in the folder: function.json has the settings, and a model file may lie beside it.
ARG IMAGE=gpubench:cpu
FROM ${IMAGE}

USER 0:0
# Amazon's client of Lambda's Runtime API. Other services do not need it.
RUN pip install --no-cache-dir awslambdaric==4.2.2
COPY . /function/
WORKDIR /function

# On Lambda, only /tmp can be written.
ENV GPUBENCH_FUNCTION_SPEC=/function/function.json \
    GPUBENCH_CACHE_DIR=/tmp/gpubench \
    HOME=/tmp
USER 10001:10001
HEALTHCHECK NONE
# For AWS Lambda. Elsewhere the command is: python3 app.py
ENTRYPOINT ["python3", "-m", "awslambdaric"]
CMD ["app.handler"]
