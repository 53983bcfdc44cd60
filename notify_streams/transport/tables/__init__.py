"""Tables read from compacted topics: split like the sources, or whole."""
