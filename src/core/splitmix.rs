//! The one source of pseudo-random numbers: the finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).

/// What one number of a sequence is ahead of the one before it.
pub const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Scramble 64 bits: of a sequence of numbers, each `STEP` ahead of the last, it makes one that looks random.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut value = value.wrapping_add(STEP);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
