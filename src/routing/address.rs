//! Which version a request addresses by name, where versions of the model are in this process.
//!
//! A model server judges the names that it is sent, and so they pass. For models in process there is
//! no such server: `/versions/3` means the version in the folder `3`, `/labels/canary` the version that
//! is the canary now, and a model or version that is not there is 404.

use super::table::{Backend, Model, Version};
use crate::base::{Fault, FaultKind, Role, Weight};

/// What a request's names leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// The split decides: no version is named, or every one that has traffic bears the name.
    Any,
    /// The version at this index and no other.
    Version(usize),
}

impl Model {
    /// Judges the name by which a request calls this model.
    ///
    /// # Errors
    /// `NoRoute` for a model in process that is not called so.
    pub fn answers_to(&self, name: &str) -> Result<(), Fault> {
        match &self.family {
            Some(family) if !family.is_called(name) => {
                let detail =
                    format!("there is no model {:?} here, expected {:?}", shorten(name), family.name());
                Err(Fault::new(FaultKind::NoRoute, detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether any of its versions is in this process.
    pub fn has_engine(&self) -> bool {
        self.versions.iter().any(|version| number(version).is_some())
    }

    /// The version in process that a request names by its number, or by its name.
    ///
    /// # Errors
    /// `NoRoute` with the numbers there are, where no version is a model server's.
    pub fn at_version(&self, wanted: &str) -> Result<Addressed, Fault> {
        let serves = |version: &Version| number(version).is_some() && version.spec.role != Role::Retired;
        let here = || self.versions.iter().enumerate().filter(|(_, version)| serves(version));
        if let Some((at, _)) = here().find(|(_, version)| version.spec.name.as_str() == wanted) {
            return Ok(Addressed::Version(at));
        }
        let is_wanted =
            |version: &Version| number(version).is_some_and(|number| number.to_string() == wanted);
        let named: Vec<usize> = here().filter(|(_, version)| is_wanted(version)).map(|(at, _)| at).collect();
        let has_traffic = |version: &Version| version.spec.weight > Weight::ZERO;
        let all = self.versions.iter().enumerate().all(|(at, v)| !has_traffic(v) || named.contains(&at));
        match named.first() {
            Some(_) if all => Ok(Addressed::Any),
            Some(_) if named.contains(&self.stable) => Ok(Addressed::Version(self.stable)),
            Some(first) => Ok(Addressed::Version(*first)),
            None => match &self.family {
                None => Ok(Addressed::Any),
                Some(family) => {
                    let known: Vec<_> = family.versions().iter().map(u64::to_string).collect();
                    let (model, wanted, known) = (&self.spec.name, shorten(wanted), known.join(", "));
                    let detail = format!("model {model} has no version {wanted:?}, expected {known}");
                    Err(Fault::new(FaultKind::NoRoute, detail))
                }
            },
        }
    }

    /// The version in process that a request names by a label: `stable`, `canary`, or the version's
    /// own name.
    ///
    /// # Errors
    /// `NoRoute` where nothing bears the label.
    pub fn at_label(&self, label: &str) -> Result<Addressed, Fault> {
        if self.family.is_none() {
            return Ok(Addressed::Any);
        }
        let mut versions = self.versions.iter().map(|version| &version.spec);
        let found = match label {
            "stable" => Some(self.stable),
            "canary" => versions.position(|version| version.role == Role::Canary),
            name => versions.position(|v| v.name.as_str() == name && v.role != Role::Retired),
        };
        found.map(Addressed::Version).ok_or_else(|| {
            let detail =
                format!("model {} has no version with the label {:?}", self.spec.name, shorten(label));
            Fault::new(FaultKind::NoRoute, detail)
        })
    }
}

/// The folder's number of a version in process.
fn number(version: &Version) -> Option<u64> {
    match &version.backend {
        Backend::Onnx(engine) => Some(engine.spec().version),
        Backend::Upstream(_) => None,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}
