//! Names of models and versions.
//!
//! They end up in metric labels, header values and URLs, so their alphabet is small: letters,
//! digits, `.`, `_` and `-`, starting with a letter or digit, 1 to 63 characters. Cloning is cheap.

use std::fmt;
use std::sync::Arc;

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a valid name: use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit"
)]
pub struct NameError {
    value: String,
}

fn validate(value: &str) -> Result<Arc<str>, NameError> {
    let mut bytes = value.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first && rest && value.len() <= 63 {
        Ok(Arc::from(value))
    } else {
        let value = value.chars().take(80).collect();
        Err(NameError { value })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `value` and keeps it.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, longer than 63 characters or has other characters.
            pub fn new(value: &str) -> Result<Self, NameError> {
                validate(value).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// Name of a model: the thing clients call.
    ModelName
}
name! {
    /// Name of one version of a model, unique within the model.
    VersionName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_label_header_and_url_safe() {
        for good in ["a", "fraud", "fraud-v1.2_x", "7b", &"x".repeat(63)] {
            assert_eq!(ModelName::new(good).map(|n| n.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "-a", ".", "a b", "a/b", "a\n", "é", &"x".repeat(64)] {
            assert!(VersionName::new(bad).is_err(), "{bad:?}");
        }
    }
}
