//! The last lines of a room, for those who come later.

use std::collections::VecDeque;

use crate::core::memory;

/// Lines with their ends, the oldest first.
#[derive(Default)]
pub(super) struct History {
    lines: VecDeque<Box<[u8]>>,
}

impl History {
    /// Keep a line, and no more than `most`.
    pub(super) fn keep(&mut self, line: &str, most: usize) {
        if most > 0 {
            if self.lines.len() == most {
                self.lines.pop_front();
            }
            // Without memory for it, those who come later miss it.
            if let Ok(line) = memory::copy(line.as_bytes()) {
                self.lines.push_back(line.into());
            }
        }
    }

    /// The last lines that have `room` together, the oldest first.
    pub(super) fn last(&self, mut room: usize) -> impl Iterator<Item = &[u8]> {
        let mut begin = self.lines.len();
        for line in self.lines.iter().rev() {
            let Some(left) = room.checked_sub(line.len()) else {
                break;
            };
            room = left;
            begin -= 1;
        }
        self.lines.range(begin..).map(AsRef::as_ref)
    }

    /// Forget all.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }
}
