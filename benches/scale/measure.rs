//! What this process has used, from Linux's /proc.

use std::fs;

/// Nanoseconds on a processor, 0 where the system does not tell.
pub fn cpu_time() -> u64 {
    let line = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    line.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_default()
}

/// The most memory resident so far (`VmHWM`), in KiB, 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
