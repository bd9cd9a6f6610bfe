//! The bounded run: the same mutations of sound files every time. What breaks is left in `target/fuzz-found`;
//! `MICROPY_FUZZ_CASES` asks for more, and `scripts/fuzz` looks for as long as one likes.

use std::process::Command;

#[test]
fn hostile_files_are_answered_in_bounded_memory_and_time() {
    let cases = std::env::var("MICROPY_FUZZ_CASES").unwrap_or_else(|_| "20000".into());
    let found = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fuzz-found");
    _ = std::fs::remove_dir_all(found);
    let run = Command::new(env!("CARGO_BIN_EXE_micropy-fuzz"))
        .args(["run", "--cases", &cases, "--found", found])
        .output()
        .expect("the runner starts");
    let told = String::from_utf8_lossy(&run.stdout);
    println!("{told}{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "what broke lies in {found}");
}
