//! A file of settings that is none: an error that names the file, or settings that can be printed and read.

use std::collections::BTreeMap;

use super::Layers;
use crate::hostile::mutations;

const SEEDS: [&[u8]; 3] = [
    b"listen = \"0.0.0.0:8080\"\nworkers = 3\nregistration = true\nmax_upload = \"8 GiB\"\n",
    b"# all kinds\nretention = '7d'\nlog_level = \"info,micropy=debug\"\nmail_from = \"a@b\"\n",
    b"workers = 0x10\npublic_url = \"http://localhost:8080\"\n[table]\nkey = [1, 2]\nday = 1979-05-27\n",
];

#[test]
fn a_file_is_refused_by_name_or_what_it_says_can_be_printed_and_read() {
    let merge =
        |text: String| Layers::merge(vec![], &BTreeMap::new(), Some(("m.toml".into(), text)));
    let (mut taken, mut refused) = (0, 0);
    for file in mutations(&SEEDS, 3000) {
        // What is no UTF-8 fails before it is parsed.
        let Ok(text) = String::from_utf8(file) else {
            continue;
        };
        match merge(text.clone()) {
            Ok(layers) => {
                taken += 1;
                let again = merge(layers.print()).unwrap();
                let values = |layers: &Layers| {
                    let of = |(name, _): (&&'static str, _)| (*name, layers.get(name).0.to_owned());
                    layers.0.iter().map(of).collect::<BTreeMap<_, _>>()
                };
                let (printed, read) = (values(&layers), values(&again));
                assert!(
                    printed.iter().all(|(name, value)| read[name] == *value),
                    "{text}"
                );
                if let Err(e) = layers.into_config() {
                    assert!(!e.to_string().is_empty());
                }
            }
            Err(e) => {
                refused += 1;
                let why = e.to_string();
                assert!(
                    why.contains("m.toml") || why.contains("cannot read"),
                    "{why}"
                );
            }
        }
    }
    assert!(
        taken > 100 && refused > 1000,
        "{taken} taken, {refused} refused"
    );
}
