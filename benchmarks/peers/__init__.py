"""Other ways to serve the same graph, each as its own documentation advises, in its own process.

All take `POST /sample` with the JSON body `{"n": 1, "seed": 7}` and reply one PNG; all run the same
ONNX file on ONNX Runtime with as many cores, and encode with Pillow at the level that costs least.
"""
