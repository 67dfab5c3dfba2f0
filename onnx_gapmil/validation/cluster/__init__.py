"""A run on a Ray cluster: its shards are the tasks of workers, one a GPU or group of cores, and are merged at the end.

What is run, resumed and put together are the shards of `onnx_gapmil.running.shards`; Ray starts the workers, on any
machine, and says when one of them died. Nothing but paths, shards and counts travels.
"""
