//! The text of a configuration, of a scenario, of one version, of one policy.

use std::path::Path;

use switchback::base::ModelName;
use switchback::config::{parse, parse_policy, parse_scenario, parse_version};

use super::choose;

/// First byte: `s` for a scenario, `v` for a version, `p` for a policy; anything else is a
/// configuration.
pub fn run(data: &[u8]) {
    let (what, text) = choose(data);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(model) = ModelName::new("m") else { return };
    let base = Path::new("/nowhere");
    let errors = match what {
        b's' => parse_scenario(text, "s", base).err(),
        b'v' => parse_version(text, &model, base).err(),
        b'p' => parse_policy(text, &model, true, base).err(),
        _ => parse(text, base).err(),
    };
    if let Some(errors) = errors {
        assert!(!errors.problems.is_empty(), "refused without a reason");
        let shown = errors.to_string();
        assert!(shown.len() < 100_000 + 20 * text.len(), "{} bytes for {}", shown.len(), text.len());
    }
}
