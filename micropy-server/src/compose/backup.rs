//! Backups of what is kept on this machine: the database, the files and the secret.
//!
//! The service runs meanwhile. Files are copied first, then the database as it is at one moment, then the files that
//! came in between. So each file that the database knows is in the backup, unless its owner removed it at that time.
//! What a backup has beyond that belongs to no job, and a sweeper removes it once it was restored.
//!
//! A restored set is a ledger of its own, with another name: it is never taken for the one that the backup was made of,
//! whatever becomes of the two.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use micropy_adapters::private;

use super::adapters::{Adapters, Embedded};
use super::folder;

/// The file that is written last, so that nobody takes half a backup for a whole one.
const MARK: &str = "backup";
/// What stands in it: the layout of the folder.
const LAYOUT: &str = "micropy backup 1\n";
const DATABASE: &str = "micropy.db";
const SECRET: &str = "jwt-secret";
const OUTBOX: &str = "outbox";
const STORES: [&str; 2] = ["videos", "mp3s"];

/// How many files of each kind were copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied {
    pub videos: u64,
    pub mp3s: u64,
}

/// Copies everything that the adapters keep on this machine into `to`, which has to be empty or missing.
pub async fn make(adapters: &Adapters, to: &Path) -> io::Result<Copied> {
    let Embedded { data, objects } = adapters.embedded()?;
    let database = data.join(DATABASE);
    if !database.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{}: there is no database to back up", database.display()),
        ));
    }
    private::create_folder(to)?;
    must_be_empty(to, &[])?;
    let mut copied = copy_objects(&objects, to)?;
    Adapters::copy_database(&database, &to.join(DATABASE)).await?;
    let since = copy_objects(&objects, to)?;
    copied.videos += since.videos;
    copied.mp3s += since.mp3s;
    copy_rest(&data, to)?;
    write(&to.join(MARK), LAYOUT.as_bytes())?;
    private::sync_folder(to)?;
    Ok(copied)
}

/// Puts the backup in `from` where the adapters look for it; nothing may be there yet.
pub async fn restore(adapters: &Adapters, from: &Path) -> io::Result<Copied> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    match fs::read_to_string(from.join(MARK)) {
        Ok(layout) if layout == LAYOUT => {}
        Ok(_) => {
            let why = "it was made by another version of this program";
            return Err(wrong(format!("{}: {why}", from.display())));
        }
        Err(e) => {
            let why = format!("there is no whole backup here: {MARK}: {e}");
            return Err(wrong(format!("{}: {why}", from.display())));
        }
    }
    let Embedded { data, objects } = adapters.embedded()?;
    let _lock = folder::lock(&data)?;
    must_be_empty(&data, &["lock"])?;
    for store in STORES.map(|store| objects.join(store)) {
        if store.try_exists()? {
            must_be_empty(&store, &[])?;
        }
    }
    private::create_folder(&objects)?;
    adapters.reserve_stores().await?;
    let copied = copy_objects(from, &objects)?;
    copy_rest(from, &data)?;
    // Last, and at once.
    let (new, database) = (data.join("micropy.db.new"), data.join(DATABASE));
    Adapters::copy_database(&from.join(DATABASE), &new).await?;
    Adapters::rename_ledger(&new).await?;
    fs::rename(&new, &database)?;
    private::sync_folder(&data)?;
    Ok(copied)
}

fn copy_objects(from: &Path, to: &Path) -> io::Result<Copied> {
    let [videos, mp3s] =
        STORES.map(|store| Adapters::copy_store(&from.join(store), &to.join(store)));
    Ok(Copied {
        videos: videos?,
        mp3s: mp3s?,
    })
}

/// Copies the secret and the mails, as far as there are any.
fn copy_rest(from: &Path, to: &Path) -> io::Result<()> {
    copy_file(&from.join(SECRET), &to.join(SECRET))?;
    let (from, to) = (from.join(OUTBOX), to.join(OUTBOX));
    if !from.is_dir() {
        return Ok(());
    }
    private::create_folder(&to)?;
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy_file(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    private::sync_folder(&to)
}

/// Copies a file, if it is there.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::read(from) {
        Ok(content) => write(to, &content),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = private::options();
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Refuses a folder with anything in it but files of these names.
fn must_be_empty(folder: &Path, except: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !except.iter().any(|known| name == *known) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{}: the folder is not empty", folder.display()),
            ));
        }
    }
    Ok(())
}
