"""The version of oxisock."""

VERSION = "0.1.0"
