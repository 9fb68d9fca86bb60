//! The machine in a simulated world: seeded traffic, a driver that carries out effects, crashes.

mod bake;
mod commands;
mod decisions;
mod flow;
mod gates;
mod properties;
mod world;
