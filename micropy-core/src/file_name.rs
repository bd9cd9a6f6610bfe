//! Names of files, made of text that a stranger chose.

/// Bytes of a stem: with a number, such as ` (1000)`, and an extension it stays under the 255 that file systems allow.
const MAX_STEM: usize = 240;

/// Devices on Windows, where `nul.mp3` is one too (Microsoft, "Naming Files, Paths, and Namespaces").
const DEVICES: [&str; 7] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];

/// Ports on Windows, with a digit behind them.
const PORTS: [&str; 2] = ["COM", "LPT"];

/// As much of `text` as every file system takes for the name of one file or folder, without an extension; `None` if
/// nothing of it does. Use it for names made of titles, tags or what a client sends:
///
/// ```
/// use micropy_core::file_stem;
/// assert_eq!(file_stem("../AC/DC: Live?").as_deref(), Some("_AC_DC_ Live_"));
/// assert_eq!(file_stem("con").as_deref(), Some("_con"));
/// assert_eq!(file_stem(".."), None);
/// ```
///
/// Separators and what Windows reserves become `_`. Control characters, those that change the writing direction, and
/// spaces and dots at either end are dropped, so that it is neither hidden nor a way out of its folder. It has at most
/// 240 bytes, and is none of the names that Windows gives to devices.
pub fn file_stem(text: &str) -> Option<String> {
    let mut stem = String::new();
    for c in text.chars().filter(|&c| !turns_direction(c)) {
        let c = match c {
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '_',
            c if c.is_whitespace() => ' ',
            c if c.is_control() => continue,
            c => c,
        };
        if stem.is_empty() && matches!(c, ' ' | '.') {
            continue;
        }
        if stem.len() + c.len_utf8() > MAX_STEM {
            break;
        }
        stem.push(c);
    }
    stem.truncate(stem.trim_end_matches([' ', '.']).len());
    match stem.as_str() {
        "" => None,
        device if is_device(device) => file_stem(&format!("_{device}")),
        _ => Some(stem),
    }
}

/// Whether Windows takes a file of this name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default();
    let base = base.trim_end_matches(' ').to_uppercase();
    let is_port = |port: &&str| {
        base.strip_prefix(port).is_some_and(|number| {
            let mut digits = number.chars();
            matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³')) && digits.next().is_none()
        })
    };
    DEVICES.contains(&base.as_str()) || PORTS.iter().any(is_port)
}

/// Marks, embeddings, overrides and isolates of the Unicode Bidirectional Algorithm.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;

    #[test]
    fn a_title_stays_readable() {
        for (text, stem) in [
            ("Intro", "Intro"),
            ("01 AC/DC: \"Back\"?", "01 AC_DC_ _Back__"),
            ("01 ...And Justice", "01 ...And Justice"),
            ("Größe 大", "Größe 大"),
            ("a\u{202E}3pm.exe\n", "a3pm.exe"),
            ("tab\there", "tab here"),
            (" .hidden. ", "hidden"),
            ("nul\0l", "null"),
            ("console", "console"),
            ("com10", "com10"),
            ("Com", "Com"),
        ] {
            assert_eq!(file_stem(text).as_deref(), Some(stem), "{text:?}");
        }
        for text in ["", ".", "..", " . . ", "\0\u{7F}\n", "\u{202E}"] {
            assert_eq!(file_stem(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_name_is_a_device() {
        for device in [
            "con", "PRN", "Aux.tar", "nul .x", "NUL\0", "com1", "LPT9", "lpt².a", "COM0", "conin$",
        ] {
            let stem = file_stem(device).unwrap();
            assert!(
                stem.starts_with('_') && !is_device(&stem),
                "{device}: {stem}"
            );
        }
    }

    /// What holds for every text.
    fn assert_safe(text: &str) {
        let Some(stem) = file_stem(text) else { return };
        let name = format!("{stem} (1000).mp3");
        assert!(name.len() <= 255, "{text:?}: {} bytes", name.len());
        for name in [&stem, &name] {
            let mut components = Path::new(name).components();
            assert!(
                matches!(components.next(), Some(Component::Normal(c)) if c == name.as_str()),
                "{text:?}: {name:?}"
            );
            assert_eq!(components.next(), None, "{text:?}: {name:?}");
            let forbidden =
                |c: char| c.is_control() || "/\\:*?\"<>|".contains(c) || turns_direction(c);
            assert!(!name.contains(forbidden), "{text:?}: {name:?}");
            assert!(!name.starts_with(['.', ' ']), "{text:?}: {name:?}");
            assert!(!name.ends_with(['.', ' ']), "{text:?}: {name:?}");
            assert!(!is_device(name), "{text:?}: {name:?}");
        }
        assert_eq!(
            file_stem(&stem).as_ref(),
            Some(&stem),
            "{text:?}: not stable"
        );
    }

    #[test]
    fn every_name_is_safe_on_every_system() {
        const PIECES: [&str; 26] = [
            "..", ".", "/", "\\", "\0", " ", "con", "COM", "1", "²", "nul", "$", "conout$", ":",
            "a", "é", "大", "🎵", "\u{202E}", "\u{2028}", "\u{A0}", "\n", "\u{9F}", "~", "-",
            "title",
        ];
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |most: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % most as u64) as usize
        };
        for round in 0..20_000 {
            let pieces = if round % 100 == 0 { 200 } else { 8 };
            let text: String = (0..below(pieces))
                .map(|_| PIECES[below(PIECES.len())])
                .collect();
            assert_safe(&text);
        }
        // Its end falls on every byte of a character of four.
        for shift in 0..4 {
            assert_safe(&("x".repeat(shift) + &"🎵".repeat(100)));
        }
        for c in (0..=0x2_FFFF).filter_map(char::from_u32) {
            assert_safe(c.encode_utf8(&mut [0; 4]));
        }
    }
}
