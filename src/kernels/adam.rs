//! A step of Adam, one pass over a parameter's values.

use pulp::Arch;
use rayon::prelude::*;

/// Values that one task handles.
const CHUNK: usize = 1 << 14;

/// The numbers of one step of Adam, with L2 weight decay inside the gradient, as torch's `Adam`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamRule {
    /// Weights of what is known in the means of the gradients and of their squares; the newest has the rest.
    pub betas: [f32; 2],
    /// Learning rate over the correction of the mean for its start at zero.
    pub step: f32,
    /// Root of the correction of the mean of the squares.
    pub root_correction: f32,
    /// Keeps the quotient finite.
    pub eps: f32,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f32,
}

/// Moves a parameter and its moments; all slices are equally long.
pub fn adam(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    rule: AdamRule,
) {
    let tasks = parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK));
    tasks.for_each(|(((parameter, gradient), first), second)| {
        Arch::new().dispatch(
            #[inline(always)]
            || update(rule, parameter, gradient, first, second),
        );
    });
}

#[inline(always)]
fn update(
    rule: AdamRule,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let [beta_1, beta_2] = rule.betas;
    for (((p, &g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
        let g = g + rule.weight_decay * *p;
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        *p -= rule.step * *m / (v.sqrt() / rule.root_correction + rule.eps);
    }
}
