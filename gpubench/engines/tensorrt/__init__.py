"""TensorRT and TensorRT-RTX: builds engine files and executes them."""
