//! Which vector instructions the passes use.

use pulp::{Arch, WithSimd};

/// Vector instructions of some width. Every width gives the same bits, as long as there are vectors at all: with them
/// comes the fused multiply-add, and sums are formed in an order that does not depend on the width.
pub trait Instructions: Copy + Send + Sync {
    /// Runs an operation with them.
    fn run<Op: WithSimd>(self, op: Op) -> Op::Output;
}

/// The widest that the processor has.
impl Instructions for Arch {
    #[inline(always)]
    fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.dispatch(op)
    }
}
