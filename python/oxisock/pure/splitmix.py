"""The one source of pseudo-random numbers: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""

STEP = 0x9E3779B97F4A7C15
"""The distance from one seed to the next."""

_MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """Scramble 64 bits."""
    value = (value + STEP) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
