//! The data folder: whose it is, and the secret kept in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use micropy_services::accounts::Secret;

/// Takes the folder, which is made where it is missing, for this process alone, for as long as the file is
/// open.
pub fn lock(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another micropy serves from {}", folder.display()),
        )),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The secret in a file that only we can read, made where it is missing.
pub fn kept_secret(folder: &Path) -> io::Result<Secret> {
    fs::create_dir_all(folder)?;
    let path = folder.join("jwt-secret");
    match fs::read_to_string(&path) {
        Ok(secret) if secret.len() == 64 => return Ok(Secret::new(secret)),
        // A crash or a full disk came in between when it was made: nothing was signed with it.
        Ok(_) => fs::remove_file(&path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    Ok(Secret::new(secret))
}
