"""TensorRT and TensorRT-RTX: the engine files, and their execution."""
