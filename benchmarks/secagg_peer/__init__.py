"""Attacks on secure aggregation: they succeed on Flower 1.41's protocol and are refused by ours."""
