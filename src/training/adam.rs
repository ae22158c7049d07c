//! Adam with L2 weight decay inside the gradient, as torch's `Adam` and so scVI's. Fused into one pass per parameter;
//! its state can be kept and follows a layer whose connections change.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{bail, CpuStorage, InplaceOp1, Layout, Result as CandleResult, Var};
use pulp::Arch;
use rayon::prelude::*;

use crate::model::{Gradients, Rewired};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

/// First and second moments of a parameter's gradient.
#[derive(Debug, Clone, Default)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The optimiser.
#[derive(Debug, Clone)]
pub struct Adam {
    lr: f64,
    eps: f64,
    weight_decay: f64,
    steps: i32,
    moments: BTreeMap<String, Moments>,
}

impl Adam {
    /// An optimiser without history.
    pub fn new(lr: f64, eps: f64, weight_decay: f64) -> Self {
        Adam {
            lr,
            eps,
            weight_decay,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// When the device has no kernel.
    pub fn step(
        &mut self,
        parameters: &[(String, Var)],
        gradients: &Gradients,
    ) -> CandleResult<()> {
        self.steps += 1;
        let correction_1 = 1.0 - f64::from(BETA_1).powi(self.steps);
        let correction_2 = 1.0 - f64::from(BETA_2).powi(self.steps);
        for (name, var) in parameters {
            let Some(gradient) = gradients.of(name, var)? else {
                continue;
            };
            if gradient.len() != var.elem_count() {
                bail!("adam: {} gradients for {name}", gradient.len());
            }
            let moments = self.moments.entry(name.clone()).or_default();
            moments.first.resize(var.elem_count(), 0.0);
            moments.second.resize(var.elem_count(), 0.0);
            let update = Update {
                gradient: &gradient,
                moments: RefCell::new(moments),
                rule: Rule {
                    step: (self.lr / correction_1) as f32,
                    root_correction: correction_2.sqrt() as f32,
                    eps: self.eps as f32,
                    weight_decay: self.weight_decay as f32,
                },
            };
            var.as_tensor().inplace_op1(&update)?;
        }
        Ok(())
    }

    /// Follows a parameter whose entries moved: moments go with the connections that stay, new ones start at zero.
    pub fn rewire(&mut self, rewired: &[Rewired]) {
        for change in rewired {
            if let Some(moments) = self.moments.get_mut(&change.name) {
                for values in [&mut moments.first, &mut moments.second] {
                    *values = change
                        .from
                        .iter()
                        .map(|from| from.map_or(0.0, |slot| values[slot as usize]))
                        .collect();
                }
            }
        }
    }
}

#[inline(always)]
fn update(
    rule: Rule,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    for (((p, &g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
        let g = g + rule.weight_decay * *p;
        *m = BETA_1 * *m + (1.0 - BETA_1) * g;
        *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
        *p -= rule.step * *m / (v.sqrt() / rule.root_correction + rule.eps);
    }
}

struct Update<'a> {
    gradient: &'a [f32],
    moments: RefCell<&'a mut Moments>,
    rule: Rule,
}

/// The numbers of one step.
#[derive(Clone, Copy)]
struct Rule {
    step: f32,
    root_correction: f32,
    eps: f32,
    weight_decay: f32,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let CpuStorage::F32(parameter) = parameter else {
            bail!("adam: single precision is needed");
        };
        let Some((from, to)) = layout.contiguous_offsets() else {
            bail!("adam: contiguous tensors are needed");
        };
        let rule = self.rule;
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second } = &mut **moments;
        let tasks = parameter[from..to]
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK));
        tasks.for_each(|(((parameter, gradient), first), second)| {
            Arch::new().dispatch(
                #[inline(always)]
                || update(rule, parameter, gradient, first, second),
            );
        });
        Ok(())
    }
}
