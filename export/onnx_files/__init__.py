"""An ONNX file of anybody's -> one graph. Nothing here needs torch."""
