//! Counts: the matrix and its checks, the filter, and the readers of files.

#[path = "../common/mod.rs"]
mod common;

mod add;
mod claims;
mod damage;
mod fuzz;
mod h5ad;
mod loom;
mod matrix;
mod mex;
mod obs;
mod plain;
mod real;
mod shared;
mod tenx;
mod unstopped;
mod write;
