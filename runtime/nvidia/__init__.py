"""What running on NVIDIA GPUs takes: devices, CUDA's memory and streams, TensorRT and its plans.

`devices` asks the driver what is there; `cuda` holds the few CUDA calls that are made; `lanes` runs
batches through an engine's buckets; `tensorrt` imports a flavor of TensorRT; `plans` keeps what was
built. Importing any of them loads no library of NVIDIA's.
"""
