//! Conformance of every wrapper.
