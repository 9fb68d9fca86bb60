//! Bodies on their way through.
