use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::ports::notifier::{Error, Notification, Notifier};

/// Keeps every notification instead of delivering it.
#[derive(Debug, Default)]
pub struct MemoryNotifier {
    delivered: Mutex<Vec<Notification>>,
}

impl MemoryNotifier {
    /// Everything delivered so far, oldest first.
    pub fn delivered(&self) -> Vec<Notification> {
        lock(&self.delivered).clone()
    }
}

#[async_trait]
impl Notifier for MemoryNotifier {
    async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        if !notification.to.contains('@') {
            let why = format!("{:?} is not an e-mail address", notification.to);
            return Err(Error::Rejected(why));
        }
        lock(&self.delivered).push(notification.clone());
        Ok(())
    }
}
