"""Which version of oxisock this is."""

VERSION = "0.1.0"
