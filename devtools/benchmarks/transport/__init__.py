"""Transport benchmark: beside aiokafka, librdkafka and stock Faust."""
