//! Sending what the ledger still owes: messages whose process died, or whose queue could not be reached, on
//! the way from the one to the other.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Ports;

/// How often the ledger is asked.
const PAUSE: Duration = Duration::from_secs(5);

/// Sends owed messages until told to stop.
pub async fn run(ports: Ports, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(PAUSE))
        .await
        .is_some()
    {
        if let Err(e) = ports.send_owed().await {
            tracing::warn!(error = %e, "messages wait in the ledger");
        }
    }
}
