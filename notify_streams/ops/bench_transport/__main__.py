"""`python -m notify_streams.ops.bench_transport`: the command by itself.

In: the command's options. Out: what it prints.
"""

from .command import transport

transport()
