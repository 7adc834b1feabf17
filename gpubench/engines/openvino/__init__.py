"""The runtime openvino: the device, the network file, and its execution."""
