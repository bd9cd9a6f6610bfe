//! Stores, in a build without them.

use std::time::Duration;

use crate::address::Address;
use crate::error::Error;
use crate::fetch::Origin;

/// Says that this build has none.
pub fn origin(
    address: &Address,
    _retries: u32,
    _timeout: Duration,
) -> Result<Box<dyn Origin>, Error> {
    Err(Error::InvalidUrl {
        url: address.shown.clone(),
        why: "this program was built without the feature `stores`".into(),
    })
}
