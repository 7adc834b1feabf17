"""Models as ONNX files: exported, and quantised. ONNX Runtime and TensorRT use both."""
