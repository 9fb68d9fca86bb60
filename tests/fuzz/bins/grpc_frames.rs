#![no_main]

switchback_fuzz::fuzz!(grpc_frames);
