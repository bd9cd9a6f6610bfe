//! The data folder: its lock, and the secret kept in it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use micropy_adapters::private;
use micropy_services::accounts::Secret;

/// Locks the folder for this process for as long as the file is open. Creates the folder if it is missing, closed to
/// other users.
pub fn lock(folder: &Path) -> io::Result<File> {
    private::create_folder(folder)?;
    let mut options = private::options();
    let lock = options.write(true).create(true).truncate(true);
    let lock = lock.open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "another micropy-server uses the folder {}",
                folder.display()
            ),
        )),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The secret in a file that only we can read, created if it is missing.
pub fn kept_secret(folder: &Path) -> io::Result<Secret> {
    private::create_folder(folder)?;
    let path = folder.join("jwt-secret");
    match fs::read_to_string(&path) {
        Ok(secret) if secret.len() == 64 => return Ok(Secret::new(secret)),
        // A crash or a full disk interrupted its creation: nothing was signed with it.
        Ok(_) => fs::remove_file(&path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = private::options();
    let mut file = options.write(true).create_new(true).open(&path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    Ok(Secret::new(secret))
}
