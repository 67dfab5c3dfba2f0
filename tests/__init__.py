"""A folder for each room of ``onnx_gapmil``, a file for each module that has a behaviour of its own.

What is tested beside that: ``benchmarks`` (the studies' own code), ``docs`` (pages that must keep up), ``packaging``,
and ``end_to_end`` (whole files: the zoo, real models, other runtimes, weights larger than memory). ``references`` holds
what is right independently of the package, ``helpers`` what several tests share, ``golden`` what other libraries said.
"""
