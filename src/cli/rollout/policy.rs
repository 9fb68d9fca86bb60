//! A policy from a file: what stands under `rollout` in a configuration, in the same words.
//!
//! The sidecar reads it, for it knows the model and the files that gates name. When it refuses, the
//! file is read here as well, because only here its lines are known.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::ModelName;
use crate::config;

use super::super::exit::Failure;
use super::super::{file, yaml};

/// A policy as it was written.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
    text: String,
    /// The same as JSON.
    pub(super) value: Value,
}

impl Written {
    /// Reads the file at `path`.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = file::read(path, yaml::LONGEST)?;
        let value = yaml::read(&text, yaml::Numbers::Always)
            .map_err(|why| Failure::error(format!("{}: {why}", path.display())))?;
        Ok(Self { path: path.to_owned(), text, value })
    }

    /// What is wrong with it, each mistake on its line; nothing where it looks right from here.
    pub(super) fn mistakes(&self, model: &str) -> Option<String> {
        let model = ModelName::new(model).ok()?;
        let base = self.path.parent().unwrap_or(Path::new(""));
        let mut errors = config::parse_policy(&self.text, &model, false, base).err()?;
        for problem in &mut errors.problems {
            problem.file = self.path.display().to_string().into();
        }
        Some(errors.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
# Little by little.
steps:
  - setWeight: 10%
  - setWeight: {weight: 50%, maxDuration: 30m}
analysis:
  alpha: 0.020
  metrics:
    - errorRate: {relative: {}}
";

    fn written(text: &str) -> Result<Written, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, text).unwrap();
        Written::load(&path)
    }

    #[test]
    fn a_policy_means_the_same_after_it_became_json() {
        let written = written(POLICY).unwrap();
        assert_eq!(written.mistakes("fraud"), None);
        let read = |text: &str| {
            let model = ModelName::new("fraud").unwrap();
            config::parse_policy(text, &model, false, Path::new("")).unwrap().policy
        };
        assert_eq!(read(&written.value.to_string()), read(POLICY));
    }

    #[test]
    fn mistakes_are_named_at_their_place_in_the_file() {
        let said = written(&POLICY.replace("setWeight: 10%", "setWeight: 110%")).unwrap().mistakes("fraud");
        let said = said.unwrap();
        assert!(said.contains("policy.yaml:3:16: steps[0].setWeight: "), "{said}");
        for text in ["", "steps: ["] {
            assert!(written(text).unwrap_err().message.contains("policy.yaml: "), "{text:?}");
        }
    }
}
