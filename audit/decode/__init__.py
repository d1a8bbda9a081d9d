"""From captured packets to what was said: TCP streams, TLS records, HTTP exchanges, Flower's messages."""
