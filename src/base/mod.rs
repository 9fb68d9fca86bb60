//! Ids, weights, roles and faults: the words every other room speaks. Nothing here does I/O.

mod address;
mod fault;
mod name;
mod network;
mod pressure;
mod role;
mod weight;

pub use address::{BindAddress, ParseAddressError};
pub use fault::{Fault, FaultKind};
pub use name::{ModelName, NameError, VersionName};
pub use network::{Network, NetworkError};
pub use pressure::{Level, Pressure};
pub use role::Role;
pub use weight::{Weight, WeightError};
