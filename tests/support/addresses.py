"""An address of this run's own, where nobody else looks for ports."""

from __future__ import annotations

import os
import sys

HOST = "127.0.0.1"
if sys.platform == "linux":  # all of 127/8 is this machine
    HOST = f"127.{64 + (os.getpid() >> 16) % 64}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
