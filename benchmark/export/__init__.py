"""Models in and out of Hugging Face directories and ONNX."""
