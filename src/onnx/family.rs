//! The versions of one model that are all served in this process, as the protocols see them: one model
//! with several versions.

use std::sync::Arc;

use super::engine::{Engine, State};

/// All versions of a model, where none is served elsewhere. Plain data about live engines.
#[derive(Debug, Clone)]
pub struct Family {
    names: Box<[String]>,
    engines: Box<[Arc<Engine>]>,
}

impl Family {
    /// A model that clients call by any of `names`, the first of which is its own.
    pub fn new(
        names: impl IntoIterator<Item = String>,
        engines: impl IntoIterator<Item = Arc<Engine>>,
    ) -> Self {
        Self { names: names.into_iter().collect(), engines: engines.into_iter().collect() }
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Whether clients call it so.
    pub fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Its versions in the order of the configuration.
    pub fn engines(&self) -> &[Arc<Engine>] {
        &self.engines
    }

    /// Numbers of the versions that are ready, in rising order, each once.
    pub fn ready_versions(&self) -> Vec<u64> {
        numbers(self.engines.iter().filter(|engine| engine.state() == State::Ready))
    }

    /// Numbers of all versions, in rising order, each once.
    pub fn versions(&self) -> Vec<u64> {
        numbers(self.engines.iter())
    }
}

fn numbers<'a>(engines: impl Iterator<Item = &'a Arc<Engine>>) -> Vec<u64> {
    let mut numbers: Vec<u64> = engines.map(|engine| engine.spec().version).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
