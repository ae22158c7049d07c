//! The whole model: how its cells are drawn, its gradient, its training, its saved form and what comes out of it.

#[path = "../common/mod.rs"]
mod common;

mod dropout;
mod evidence;
mod expression;
mod gradient;
mod interrupts;
mod masks;
mod null;
mod results;
mod sampling;
mod saved;
mod settings;
mod side_by_side;
mod simulated;
mod steps;
mod stopping;
mod trainer;
