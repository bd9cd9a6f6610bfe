//! Telling one ledger from another.

use async_trait::async_trait;

use super::Error;
use crate::ports::Id;
use crate::ports::binding::Identity;

/// The ledger's name and generation; see [`binding`](crate::ports::binding), which is their only user.
#[async_trait]
pub trait LedgerIdentity: Send + Sync {
    /// The ledger's identity; none before the first [`advance`](LedgerIdentity::advance).
    async fn identity(&self) -> Result<Option<Identity>, Error>;

    /// Moves the ledger one generation on and returns its identity; the first generation is 1. A ledger without a name
    /// is given `name`.
    ///
    /// Durable when it returns. Of two at once, each gets a generation of its own.
    async fn advance(&self, name: Id) -> Result<Identity, Error>;
}
