"""HTTP/2 to one server: streams of concurrent calls on few connections."""
