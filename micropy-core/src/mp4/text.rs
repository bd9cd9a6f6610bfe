//! Text as MP4 and QuickTime store it.

/// UTF-8; invalid bytes are replaced.
pub fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `bytes` without the NULs that end a string in C: some programs write them, too.
pub fn without_trailing_nuls(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    &bytes[..len]
}

/// UTF-16, big-endian unless a byte order mark says otherwise; invalid code units are replaced.
pub fn utf16(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = match units {
        [[0xFF, 0xFE], rest @ ..] => rest.iter().copied().map(u16::from_le_bytes).collect(),
        [[0xFE, 0xFF], rest @ ..] => rest.iter().copied().map(u16::from_be_bytes).collect(),
        _ => units.iter().copied().map(u16::from_be_bytes).collect(),
    };
    String::from_utf16_lossy(&units)
}

/// UTF-16 with a byte order mark, UTF-8, or else Mac Roman, as in QuickTime.
pub fn guess(bytes: &[u8]) -> String {
    if bytes.starts_with(&[0xFE, 0xFF]) || bytes.starts_with(&[0xFF, 0xFE]) {
        return utf16(bytes);
    }
    match str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{FEFF}').to_owned(),
        // Cut off at a limit, in the middle of a character.
        Err(e) if e.error_len().is_none() => utf8(&bytes[..e.valid_up_to()]),
        Err(_) => mac_roman(bytes),
    }
}

/// UTF-8, or else Latin-1, in which mutagen writes the names of `----` items.
pub fn utf8_or_latin_1(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn mac_roman(bytes: &[u8]) -> String {
    /// Bytes 0x80 and up: Apple's mapping to Unicode, `ROMAN.TXT` of 2005.
    const UPPER: &str = "\
     ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
     ¿¡¬√ƒ≈∆«»… ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ\
";
    let upper: Vec<char> = UPPER.chars().collect();
    let decode = |&byte: &u8| match byte.checked_sub(0x80) {
        Some(i) => upper[usize::from(i)],
        None => char::from(byte),
    };
    bytes.iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_text_is_mac_roman() {
        assert_eq!(guess(b"caf\x8e"), "café");
        assert_eq!(guess("café".as_bytes()), "café");
        assert_eq!(guess(b"\x80\xA0\xCA\xDB\xF0\xFF"), "Ä†\u{A0}€\u{F8FF}ˇ");
        assert_eq!(guess(b"caf\xC3"), "caf", "cut off");
        // Every byte has a character.
        let all: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(mac_roman(&all).chars().count(), 256);
    }

    #[test]
    fn other_names_are_latin_1() {
        assert_eq!(utf8_or_latin_1(b"H\xE4ufig"), "Häufig");
        assert_eq!(utf8_or_latin_1("Häufig".as_bytes()), "Häufig");
    }

    #[test]
    fn utf_16_has_either_order() {
        assert_eq!(utf16(b"\xFE\xFF\0a\x59\x27"), "a大");
        assert_eq!(utf16(b"\xFF\xFEa\0\x27\x59"), "a大");
        assert_eq!(utf16(b"\0a"), "a");
        assert_eq!(guess(b"\xFF\xFEa\0"), "a");
    }

    #[test]
    fn invalid_text_is_replaced() {
        assert_eq!(utf8(b"a\xFFb"), "a\u{FFFD}b");
        assert_eq!(utf16(b"\xD8\0\0b\0"), "\u{FFFD}b");
    }
}
