#![no_main]

switchback_fuzz::fuzz!(v1);
