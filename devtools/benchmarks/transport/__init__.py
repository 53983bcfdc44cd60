"""Transport benchmark: the batched transport beside aiokafka, librdkafka and stock Faust."""
