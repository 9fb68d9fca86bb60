#![no_main]

switchback_fuzz::fuzz!(response_head);
