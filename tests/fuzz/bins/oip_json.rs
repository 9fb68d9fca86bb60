#![no_main]

switchback_fuzz::fuzz!(oip_json);
