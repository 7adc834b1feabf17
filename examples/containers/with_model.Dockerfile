# Adds your model to an image of gpubench, so that no machine has to fetch it. In the folder of the model:
#   docker build -f .../with_model.Dockerfile --build-arg IMAGE=gpubench:cuda --build-arg MODEL=detector.onnx -t detector .
# Then `--model /models/detector.onnx` names it.
ARG IMAGE=gpubench:cpu
FROM ${IMAGE}
# A file or a folder, such as a model of Hugging Face. Every user may read it.
ARG MODEL
COPY ${MODEL} /models/${MODEL}
