#![no_main]

switchback_fuzz::fuzz!(model_file);
