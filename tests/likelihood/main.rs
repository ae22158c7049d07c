//! The count distributions: closed form against exact values, the fused pass against the closed form.

mod close;
mod closed_form;
mod fused;
mod last_layer;
mod minibatch;
mod model;
mod refused;
