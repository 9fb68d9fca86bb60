//! Certificates and keys that change on disk, of listeners and of upstreams: read again without a
//! connection being dropped.
//!
//! Files are looked at again and again, by their content: it is what works for files that are
//! replaced, for links that are moved two levels up (Kubernetes) and for file systems that tell
//! nobody of changes. They are small.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::board::Switchboard;
use crate::net::ServerTls;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// What became of certificates that changed.
#[derive(Debug, Default)]
pub struct Certificates {
    applied: AtomicU64,
    refused: AtomicU64,
}

impl Certificates {
    /// How often changed files were taken up, and how often they were refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.applied.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Looks again and again, as long as it is polled.
    ///
    /// # Cancel safety
    /// Safe: what was taken up stays.
    pub async fn watch(self: &Arc<Self>, servers: Vec<(String, Arc<ServerTls>)>, board: Arc<Switchboard>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let mut clusters = board.table().clusters();
            clusters.retain(|cluster| cluster.spec().tls.is_some());
            if servers.is_empty() && clusters.is_empty() {
                continue;
            }
            let (me, servers) = (self.clone(), servers.clone());
            // A file system may be slow.
            let looked = tokio::task::spawn_blocking(move || {
                for (name, tls) in &servers {
                    me.note(name, tls.reload_if_changed());
                }
                for cluster in &clusters {
                    me.note(&format!("upstream {}", cluster.spec().authority), cluster.reload_if_changed());
                }
            });
            if looked.await.is_err() {
                tracing::error!("looking at certificates panicked; this is a bug");
            }
        }
    }

    fn note<E: std::fmt::Display>(&self, whose: &str, result: Option<Result<(), E>>) {
        match result {
            None => {}
            Some(Ok(())) => {
                self.applied.fetch_add(1, Relaxed);
                tracing::info!(whose, "certificates were read again");
            }
            Some(Err(error)) => {
                self.refused.fetch_add(1, Relaxed);
                tracing::error!(whose, %error, "changed certificates are refused; the old ones stay");
            }
        }
    }
}
