"""What is asked of the system: processor cores, sessions of ONNX Runtime, files that others have published."""
