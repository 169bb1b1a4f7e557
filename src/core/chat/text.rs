//! What may stand in a line of chat, and what a nick may look like.

use std::borrow::Cow;

/// Decode a line, with U+FFFD for what is no UTF-8, and clean it.
#[must_use]
pub fn clean_bytes(line: &[u8]) -> Cow<'_, str> {
    clean(String::from_utf8_lossy(line))
}

/// Take out what would move a terminal's cursor, turn its text around or begin a line; a tab becomes a space.
#[must_use]
pub fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || text.chars().all(|letter| keep(letter) == Some(letter))
    {
        return text;
    }
    Cow::Owned(text.chars().filter_map(keep).collect())
}

fn keep(letter: char) -> Option<char> {
    match letter {
        '\t' => Some(' '),
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        _ => Some(letter),
    }
}

/// Whether there is nothing to see.
#[must_use]
pub fn blank(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ')
}

/// Whether somebody may be called so.
#[must_use]
pub fn is_nick(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=24).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether it is a nick of those that are given.
#[must_use]
pub fn is_guest(nick: &str) -> bool {
    let number = nick.get(..6).filter(|start| start.eq_ignore_ascii_case("guest-")).map(|_| &nick[6..]);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
