//! Memory whose size input or users decide: had, or refused, where the standard library would end the process.

use std::alloc::{Layout, alloc_zeroed};
use std::collections::{TryReserveError, VecDeque};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use super::os::errors;

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of memory")
    }
}

impl std::error::Error for NoMemory {}

impl From<NoMemory> for io::Error {
    fn from(_: NoMemory) -> Self {
        Self::from_raw_os_error(errors::ENOMEM)
    }
}

impl From<TryReserveError> for NoMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// Append bytes; where there is no room, nothing changes.
#[inline]
pub fn append(to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), NoMemory> {
    to.try_reserve(bytes.len())?;
    to.extend_from_slice(bytes);
    Ok(())
}

/// Append an item.
#[inline]
pub fn push<T>(to: &mut Vec<T>, item: T) -> Result<(), NoMemory> {
    if to.len() == to.capacity() {
        to.try_reserve(1)?;
    }
    to.push(item);
    Ok(())
}

/// Append an item to a queue.
#[inline]
pub fn push_back<T>(to: &mut VecDeque<T>, item: T) -> Result<(), NoMemory> {
    if to.len() == to.capacity() {
        to.try_reserve(1)?;
    }
    to.push_back(item);
    Ok(())
}

/// Memory of a given size, to be written from its beginning to its end.
pub struct Room<'a> {
    place: &'a mut [MaybeUninit<u8>],
    filled: usize,
}

impl<'a> Room<'a> {
    /// Nothing of it is written yet.
    #[inline]
    #[must_use]
    pub fn new(place: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { place, filled: 0 }
    }

    /// Write these next. They have to fit: whoever makes the room knows what will be written.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) {
        let place = &mut self.place[self.filled..][..bytes.len()];
        // SAFETY: both are that many bytes, and one of them is borrowed to be written to, so that they do not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_mut_ptr().cast(), bytes.len()) };
        self.filled += bytes.len();
    }

    /// Write so many zeros next, which have to fit.
    #[inline]
    pub fn zeros(&mut self, size: usize) {
        self.place[self.filled..][..size].fill(MaybeUninit::new(0));
        self.filled += size;
    }

    /// What is written.
    #[inline]
    #[must_use]
    pub fn written(&self) -> &[u8] {
        // SAFETY: so many are written, from the beginning on.
        unsafe { slice::from_raw_parts(self.place.as_ptr().cast(), self.filled) }
    }

    /// How much is not.
    #[inline]
    #[must_use]
    pub fn left(&self) -> usize {
        self.place.len() - self.filled
    }
}

/// A copy.
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>, NoMemory> {
    let mut made = Vec::new();
    append(&mut made, bytes)?;
    Ok(made)
}

/// An empty vector with room for so many.
pub fn with_capacity<T>(size: usize) -> Result<Vec<T>, NoMemory> {
    let mut made = Vec::new();
    made.try_reserve_exact(size)?;
    Ok(made)
}

/// So many zeros; what of them lies untouched costs no memory.
pub fn zeros(size: usize) -> Result<Vec<u8>, NoMemory> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let layout = Layout::array::<u8>(size).map_err(|_| NoMemory)?;
    // SAFETY: the layout is not empty.
    let place = unsafe { alloc_zeroed(layout) };
    if place.is_null() {
        return Err(NoMemory);
    }
    let bytes = std::ptr::slice_from_raw_parts_mut(place, size);
    // SAFETY: the global allocator gave `size` bytes of the layout that a boxed slice of this size has, all of them zero.
    Ok(unsafe { Box::from_raw(bytes) }.into_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn room_is_written_in_order() {
        let mut place = [MaybeUninit::uninit(); 7];
        let mut room = Room::new(&mut place);
        room.append(b"ab");
        room.zeros(2);
        room.append(b"");
        room.append(b"cd");
        assert_eq!((room.written(), room.left()), (&b"ab\0\0cd"[..], 1));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let mut bytes = b"ab".to_vec();
        append(&mut bytes, b"cd").unwrap();
        push(&mut bytes, b'e').unwrap();
        assert_eq!(copy(&bytes).unwrap(), b"abcde");
        assert_eq!(zeros(3).unwrap(), [0; 3]);
        assert!(zeros(0).unwrap().is_empty());
        assert_eq!(zeros(usize::MAX), Err(NoMemory));
        assert_eq!(with_capacity::<u64>(usize::MAX).unwrap_err(), NoMemory);
        // More than any machine has, and less than any vector may have; 32 bits have no such size.
        #[cfg(target_pointer_width = "64")]
        assert_eq!(zeros(1 << 62), Err(NoMemory));
    }
}
