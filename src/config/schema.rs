//! The configuration's JSON Schema (2020-12), for editors and pipelines.
//!
//! Made of the sections of `raw`. What relates several values, such as weights that sum to 100 %,
//! only `check` sees.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::{LoadTest, Root};

/// The schema, with descriptions, defaults, bounds and patterns; unknown keys are refused.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Root>();
    schema.insert("title".to_owned(), "Switchback configuration".into());
    schema.to_value()
}

/// The schema of scenarios of load tests, made in the same way.
pub fn scenario_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<LoadTest>();
    schema.insert("title".to_owned(), "Scenario of a Switchback load test".into());
    schema.to_value()
}
