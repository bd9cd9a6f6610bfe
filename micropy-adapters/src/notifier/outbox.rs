//! Mail as files in a folder, for a machine without a mail server: `<key>.eml`, which any mail program opens.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lettre::message::Mailbox;
use micropy_core::ports::notifier::{Error, Notification, Notifier};

use super::message::compose;
use crate::private::{self, sync_folder};

/// A folder of mails.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
    from: Mailbox,
}

impl Outbox {
    /// Uses `folder`, which is made if it is missing, for mail from the address `from`. Other users of the machine
    /// cannot read it.
    pub fn open(folder: impl AsRef<Path>, from: &str) -> io::Result<Self> {
        let from = from.parse().map_err(|e| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{from:?} is not an address: {e}"),
            )
        })?;
        private::create_folder(folder.as_ref())?;
        Ok(Outbox {
            folder: folder.as_ref().to_owned(),
            from,
        })
    }

    /// Writes a mail atomically, over the one with the same key.
    fn write(&self, key: &str, mail: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join(format!(".{key}.part"));
        let mut file = private::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)?;
        file.write_all(mail)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(format!("{key}.eml")))?;
        sync_folder(&self.folder)
    }
}

#[async_trait]
impl Notifier for Outbox {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        let mail = compose(&self.from, notification)?.formatted();
        let outbox = self.clone();
        let key = notification.key.clone();
        let path = self.folder.join(format!("{key}.eml"));
        let written = tokio::task::spawn_blocking(move || outbox.write(&key, &mail)).await;
        written
            .map_err(io::Error::other)
            .flatten()
            .map_err(|e| Error::Backend {
                adapter: "outbox",
                cause: Box::new(e),
            })?;
        tracing::info!(
            to = notification.to,
            subject = notification.subject,
            file = %path.display(),
            "mail written to the outbox"
        );
        Ok(())
    }
}
