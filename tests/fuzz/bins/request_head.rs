#![no_main]

switchback_fuzz::fuzz!(request_head);
