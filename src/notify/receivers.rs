//! Receivers that can be told at once: what could be wrong with them was found out before.

use std::collections::BTreeSet;

use super::client::{Client, ClientError, Transport};
use super::spec::NotifySpec;

/// Receivers that there may be; each has a thread once it is told something.
const RECEIVERS: usize = 32;

/// Receivers with what it takes to reach them, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Receivers(pub(super) Vec<(NotifySpec, Client)>);

/// Receivers are of no use as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiversError {
    /// Two receivers have one name.
    #[error("two receivers of notifications are called {0:?}")]
    SameName(String),
    /// There are too many receivers.
    #[error("{count} receivers of notifications; there may be {RECEIVERS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A receiver's file of authorities is of no use.
    #[error("receiver {name:?}: {error}")]
    Client {
        /// The receiver.
        name: String,
        /// What is wrong.
        error: ClientError,
    },
}

impl Receivers {
    /// Gets ready to tell `specs`. Reads files of authorities, and sends nothing.
    ///
    /// # Errors
    /// [`ReceiversError`].
    pub fn prepare(specs: Vec<NotifySpec>) -> Result<Self, ReceiversError> {
        if specs.len() > RECEIVERS {
            return Err(ReceiversError::TooMany { count: specs.len() });
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|spec| !names.insert(spec.name.as_str())) {
            return Err(ReceiversError::SameName(twice.name.clone()));
        }
        let mut ready = Vec::with_capacity(specs.len());
        for spec in specs {
            let transport = Transport {
                timeout: spec.timeout,
                ca: spec.ca.clone(),
                environment_proxy: spec.environment_proxy,
            };
            match Client::new(&transport) {
                Ok(client) => ready.push((spec, client)),
                Err(error) => return Err(ReceiversError::Client { name: spec.name, error }),
            }
        }
        Ok(Self(ready))
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = &NotifySpec> {
        self.0.iter().map(|(spec, _)| spec)
    }
}
