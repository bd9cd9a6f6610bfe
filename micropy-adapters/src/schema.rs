//! Numbered versions of the tables and collections that are ours.
//!
//! A database records the number of its last migration. Opening it applies those that are missing, in order. A released
//! migration never changes: what comes later is appended.

/// The migrations that a database at `version` still needs.
pub(crate) fn missing<M>(migrations: &[M], version: i64) -> Result<&[M], NewerSchema> {
    let applied = usize::try_from(version).ok();
    applied
        .and_then(|applied| migrations.get(applied..))
        .ok_or(NewerSchema {
            version,
            known: migrations.len(),
        })
}

/// The database was written by a newer program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a newer version of this program has upgraded the database: its schema is number {version}, and this program knows \
     only up to {known}. Run the newer program, or restore the backup from before the upgrade"
)]
pub(crate) struct NewerSchema {
    version: i64,
    known: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_applied() {
        let migrations = ["one", "two"];
        assert_eq!(missing(&migrations, 0), Ok(&["one", "two"][..]));
        assert_eq!(missing(&migrations, 1), Ok(&["two"][..]));
        assert_eq!(missing(&migrations, 2), Ok(&[][..]));
        for newer in [3, i64::MAX, -1] {
            let e = missing(&migrations, newer).unwrap_err();
            assert!(e.to_string().contains(&newer.to_string()), "{e}");
        }
    }
}
