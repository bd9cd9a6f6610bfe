//! Slots for responses that last: so many in all, and so many for one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::problem::Problem;

/// Seconds after which a user may have a slot again.
const RETRY_SECONDS: u64 = 10;

/// Slots for one kind of response.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    /// What they are for, as in "Too many … at the same time."
    what: &'static str,
    in_all: usize,
    per_user: usize,
    /// Taken slots by user; nobody has none.
    taken: Mutex<HashMap<String, usize>>,
}

/// A slot that is taken until it is dropped.
pub struct Slot {
    slots: Slots,
    user: String,
}

/// Slots of one kind for one user: up to `most`, and no more than an eighth of the server's connections. So nobody has
/// most of them, with slots of all kinds.
pub fn share(connections: usize, most: usize) -> usize {
    most.min(connections / 8).max(2)
}

impl Slots {
    /// So many slots in all, and so many for one user.
    pub fn new(what: &'static str, in_all: usize, per_user: usize) -> Self {
        Slots(Arc::new(Shared {
            what,
            in_all,
            per_user,
            taken: Mutex::default(),
        }))
    }

    /// A slot for the user: 429 if they have all of theirs, 503 if there is none left.
    pub fn take(&self, user: &str) -> Result<Slot, Problem> {
        let Shared {
            what,
            in_all,
            per_user,
            ..
        } = *self.0;
        let mut taken = self.taken();
        if taken.get(user).is_some_and(|own| *own >= per_user) {
            let detail = format!("You have too many {what} at the same time: at most {per_user}.");
            return Err(Problem::too_many(RETRY_SECONDS, detail));
        }
        if taken.values().sum::<usize>() >= in_all {
            let detail = format!("There are too many {what} right now.");
            return Err(Problem::busy(detail));
        }
        *taken.entry(user.to_owned()).or_default() += 1;
        Ok(Slot {
            slots: self.clone(),
            user: user.to_owned(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn nobody_has_most_of_the_connections() {
        // Streams, downloads, uploads; and two archives.
        for connections in [25, 64, 384, 4096] {
            let own = [16, 32, 64].map(|most| share(connections, most));
            assert!(
                own.iter().sum::<usize>() + 2 <= connections / 2,
                "{connections}: {own:?}"
            );
        }
        assert_eq!(share(4096, 32), 32);
    }

    #[test]
    fn a_user_has_a_share_and_all_have_a_limit() {
        let slots = Slots::new("streams", 3, 2);
        let status = |user| slots.take(user).err().map(|problem| problem.status());
        let ann = [slots.take("ann"), slots.take("ann")];
        assert_eq!(status("ann"), Some(StatusCode::TOO_MANY_REQUESTS));
        let bob = slots.take("bob");
        assert_eq!(status("eve"), Some(StatusCode::SERVICE_UNAVAILABLE));
        drop(bob);
        assert_eq!(status("eve"), None);
        drop(ann);
        assert_eq!(status("ann"), None);
        assert!(slots.taken().is_empty(), "nobody is remembered for nothing");
    }
}
