//! How the words of `base` are written in stored state: names and roles as text, weights in basis
//! points. What does not read as one is an error of the reader, never a panic.
//!
//! To be named in `#[serde(with = "…")]`: `base` itself knows nothing of formats.

/// [`VersionName`](crate::base::VersionName) as text.
pub mod version {
    use crate::base::VersionName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes the name.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(name: &VersionName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    /// Reads and checks a name.
    ///
    /// # Errors
    /// Where the text is not a name.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<VersionName, D::Error> {
        VersionName::new(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// [`ModelName`](crate::base::ModelName) as text.
pub mod model {
    use crate::base::ModelName;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes the name.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(name: &ModelName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    /// Reads and checks a name.
    ///
    /// # Errors
    /// Where the text is not a name.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ModelName, D::Error> {
        ModelName::new(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// [`Weight`](crate::base::Weight) in basis points.
pub mod weight {
    use crate::base::Weight;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes the basis points.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(weight: &Weight, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(weight.basis_points())
    }

    /// Reads and checks basis points.
    ///
    /// # Errors
    /// Above 10 000.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Weight, D::Error> {
        Weight::new(u32::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// [`Role`](crate::base::Role) as its word.
pub mod role {
    use crate::base::Role;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    const ALL: [Role; 5] = [Role::Stable, Role::Canary, Role::Shadow, Role::Standby, Role::Retired];

    /// Writes the word.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(role.as_str())
    }

    /// Reads the word.
    ///
    /// # Errors
    /// Where it is no role.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
        let word = String::deserialize(from)?;
        ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| D::Error::custom("not a role"))
    }
}
