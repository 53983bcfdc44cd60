"""Record types of the topics, with their decoders and bounds."""
