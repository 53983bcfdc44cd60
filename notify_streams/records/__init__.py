"""Record types of the topics, with their decoders and bounds. No tables, no databases, no Faust."""
