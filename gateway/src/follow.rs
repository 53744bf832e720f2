//! Keys of clients that are written anew are in force a second later, without a restart; so is what else stands in the files by then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::control::Control;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Until `stop`. Keys that can't be used leave the last good ones in force: that is logged, and shown as a metric.
pub(crate) async fn follow_keys(control: Arc<Control>, stop: CancellationToken) {
    let path = || control.plane.settings().config.api_keys_file.clone();
    let mut seen = digest(&path());
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let now = digest(&path());
        if now != seen {
            seen = now;
            // Logged where it happens.
            drop(control.reload().await);
        }
    }
}

/// None while it can't be read.
fn digest(path: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(std::fs::read(path).ok()?).into())
}
