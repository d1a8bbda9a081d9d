"""Finds what must not cross the wire: picture files, raw pixels, known images, anything outside the schema."""
