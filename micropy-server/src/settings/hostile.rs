//! Hostile files of settings: refused with an error that names the file, or settings that can be printed and read
//! again.

use super::{Flags, Kind, Layers, Settings, SettingsError, declared};

fn merge(text: &str) -> Result<Layers, SettingsError> {
    Layers::merge(
        Flags::default(),
        [],
        Some(("m.toml".into(), text.to_owned())),
    )
}

/// Whether `file` is a file of settings.
///
/// # Panics
/// Where an error does not name the file, or what is printed reads back as something else.
pub fn settings(file: &[u8]) -> bool {
    // The program reads text: what is no UTF-8 fails before it is parsed.
    let Ok(text) = str::from_utf8(file) else {
        return false;
    };
    match merge(text) {
        Ok(layers) => {
            let again = merge(&layers.print()).expect("what is printed can be read");
            // Passwords are not printed.
            for setting in declared().iter().filter(|s| s.kind == Kind::Plain) {
                let value = |layers: &Layers| {
                    let found = layers.iter().find(|(s, _)| s.name == setting.name);
                    found.map_or(setting.default.clone(), |(_, value)| value.to_owned())
                };
                assert_eq!(value(&again), value(&layers), "{text}");
            }
            if let Err(e) = Settings::from_layers(&layers) {
                assert!(!e.to_string().is_empty());
            }
            true
        }
        Err(e) => {
            let why = e.to_string();
            let is_named = why.contains("m.toml") || why.contains("cannot read");
            assert!(is_named, "{why}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::settings;
    use micropy_services::hostile::mutations;

    #[test]
    fn mutated_files_are_refused_by_name_or_read_back_as_printed() {
        let taken = mutations("tests/seeds/config", 3000).filter(|file| settings(file));
        let taken = taken.count();
        assert!(taken > 100 && taken < 2000, "{taken} of 3000");
    }
}
