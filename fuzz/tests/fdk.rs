//! What the harness for FDK repeats of the binding, it repeats rightly.

use std::collections::BTreeSet;

/// The sanitizers' build sets the decoder as the binding does: else it would look at another decoder.
#[test]
fn the_harness_sets_the_parameters_of_the_binding() {
    let binding = include_str!("../../micropy-fdk/src/lib.rs");
    let harness = include_str!("../fdk/decode.cpp");
    let set = |text: &str, begin: &str, end: &str, before: &str| -> BTreeSet<String> {
        let (_, table) = text.split_once(begin).expect("its beginning");
        let (table, _) = table.split_once(end).expect("its end");
        table
            .split(before)
            .skip(1)
            .map(|entry| entry.split([')', '}']).next().unwrap_or_default())
            .map(|entry| entry.split_whitespace().collect())
            .collect()
    };
    let ours = set(binding, "const PARAMETERS", "];", "(sys::");
    let theirs = set(harness, "} PARAMETERS[]", "};", "{AAC_");
    assert!(!ours.is_empty());
    assert_eq!(ours, theirs);
}
