"""What running on NVIDIA GPUs takes: devices, CUDA's memory and streams, TensorRT and its plans.

`devices` lists the GPUs of the driver; `cuda` holds the few CUDA calls that are made; `lanes` runs
batches of any size through `slots`, one for each size that an engine runs; `drawing` draws latents
there; `tensorrt` imports a flavor of TensorRT; `plans` keeps what was built and `verification` says
whether it is right. Importing any of them loads no library of NVIDIA's.
"""
