//! Who can read what the adapters make.

#![cfg(all(
    unix,
    any(feature = "filesystem", feature = "outbox", feature = "sqlite")
))]
#![allow(clippy::unwrap_used)] // a test ends where something fails

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use micropy_adapters::private::{create_file, create_folder};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folders_and_files_are_made_private() {
    let folder = tempfile::tempdir().unwrap();
    let (above, inner) = (folder.path().join("a"), folder.path().join("a/b"));
    create_folder(&inner).unwrap();
    assert_eq!((mode(&above), mode(&inner)), (0o700, 0o700));
    let file = inner.join("file");
    create_file(&file).unwrap();
    assert_eq!(mode(&file), 0o600);
    assert!(create_folder(&file).is_err(), "a file is not a folder");
}

#[test]
fn existing_ones_are_closed_to_others_and_keep_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, file) = (folder.path().join("a"), folder.path().join("a/file"));
    fs::create_dir(&inner).unwrap();
    fs::write(&file, "kept").unwrap();
    for (before, after) in [(0o755, 0o750), (0o700, 0o700), (0o777, 0o770)] {
        set_mode(&inner, before);
        create_folder(&inner).unwrap();
        assert_eq!(mode(&inner), after);
    }
    set_mode(&file, 0o644);
    create_file(&file).unwrap();
    assert_eq!(mode(&file), 0o640);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_database_and_the_files_beside_it_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("micropy.db");
    let database = micropy_adapters::sqlite::Database::open(&path)
        .await
        .unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_owned());
    }
    assert!(names.len() >= 2, "there is a log beside it: {names:?}");
    database.close().await;
}
