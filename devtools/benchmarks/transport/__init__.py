"""Measures the batched transport beside bare aiokafka, librdkafka and stock Faust, in one run.

In: a broker. Out: figures with their references and ratios, or a refusal if a record was missing in any run.
"""
