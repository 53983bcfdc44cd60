"""`python -m devtools.benchmarks.transport`: the command by itself.

In: the command's options. Out: what it prints.
"""

from devtools.benchmarks.transport.command import transport

transport()
