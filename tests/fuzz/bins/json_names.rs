#![no_main]

switchback_fuzz::fuzz!(json_names);
