"""Exports models to ONNX files and quantises these. ONNX Runtime and TensorRT use the files."""
