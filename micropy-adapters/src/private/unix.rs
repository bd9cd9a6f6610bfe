use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Everything that the class "others" may do, in a mode.
const OTHERS: u32 = 0o007;

pub(super) fn folder_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

pub(super) fn close_to_others(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mode = metadata.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        // It belongs to somebody else, who has opened it to all: it can be used all the same.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), "other users of this machine may read this");
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{create_file, create_folder};
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private_and_what_is_there_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let (above, inner) = (folder.path().join("a"), folder.path().join("a/b"));
        create_folder(&inner).unwrap();
        assert_eq!((mode(&above), mode(&inner)), (0o700, 0o700));
        let file = inner.join("file");
        create_file(&file).unwrap();
        assert_eq!(mode(&file), 0o600);

        fs::write(&file, "kept").unwrap();
        for (before, after) in [(0o755, 0o750), (0o700, 0o700), (0o777, 0o770)] {
            fs::set_permissions(&inner, Permissions::from_mode(before)).unwrap();
            create_folder(&inner).unwrap();
            assert_eq!(mode(&inner), after);
        }
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        create_file(&file).unwrap();
        assert_eq!(mode(&file), 0o640);
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        assert!(create_folder(&file).is_err());
    }
}
