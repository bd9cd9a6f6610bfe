use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::ports::auth::{Auth, Error, Rejection};

/// Users in memory, their passwords in plain text: for tests only.
#[derive(Debug, Default)]
pub struct MemoryAuth {
    passwords: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Auth for MemoryAuth {
    async fn register(&self, email: &str, password: &str) -> Result<(), Error> {
        match lock(&self.passwords).entry(email.to_owned()) {
            Entry::Occupied(_) => Err(Error::Rejected(Rejection::Taken)),
            Entry::Vacant(entry) => {
                entry.insert(password.to_owned());
                Ok(())
            }
        }
    }

    async fn authenticate(&self, email: &str, password: &str) -> Result<(), Error> {
        match lock(&self.passwords).get(email) {
            Some(known) if known == password => Ok(()),
            _ => Err(Error::Rejected(Rejection::Credentials)),
        }
    }

    async fn change_password(&self, email: &str, password: &str) -> Result<(), Error> {
        let mut passwords = lock(&self.passwords);
        let known = passwords.get_mut(email).ok_or(Error::NotFound)?;
        password.clone_into(known);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        Ok(lock(&self.passwords).keys().cloned().collect())
    }
}
