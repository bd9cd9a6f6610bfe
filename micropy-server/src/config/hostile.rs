//! A file of settings that is none: an error that names the file, or settings that can be printed and read.

use std::collections::BTreeMap;

use super::{ConfigError, Layers};

fn merge(text: String) -> Result<Layers, ConfigError> {
    Layers::merge(vec![], &BTreeMap::new(), Some(("m.toml".into(), text)))
}

fn values(layers: &Layers) -> BTreeMap<&'static str, String> {
    let of = |(name, _): (&&'static str, _)| (*name, layers.get(name).0.to_owned());
    layers.0.iter().map(of).collect()
}

/// Whether it is a file of settings.
///
/// # Panics
/// Where it is refused without being named, or is another when it is printed and read.
pub fn settings(file: &[u8]) -> bool {
    // What is no UTF-8 fails before it is parsed.
    let Ok(text) = str::from_utf8(file) else {
        return false;
    };
    match merge(text.to_owned()) {
        Ok(layers) => {
            let again = merge(layers.print()).expect("what is printed can be read");
            let (printed, read) = (values(&layers), values(&again));
            assert!(
                printed.iter().all(|(name, value)| read[name] == *value),
                "{text}"
            );
            if let Err(e) = layers.into_config() {
                assert!(!e.to_string().is_empty());
            }
            true
        }
        Err(e) => {
            let why = e.to_string();
            assert!(
                why.contains("m.toml") || why.contains("cannot read"),
                "{why}"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::settings;
    use micropy_services::hostile::mutations;

    #[test]
    fn a_file_is_refused_by_name_or_what_it_says_can_be_printed_and_read() {
        let taken = mutations("tests/seeds/config", 3000).filter(|file| settings(file));
        let taken = taken.count();
        assert!(taken > 100 && taken < 2000, "{taken} of 3000");
    }
}
