#![no_main]

switchback_fuzz::fuzz!(codings);
