//! The processor: the kernels on the values of its tensors.

use std::cell::RefCell;
use std::sync::Arc;

use pulp::Arch;
use rayon::prelude::*;

use super::host_values::HostValues;
use super::{
    AdamRule, Backend, BatchStatistics, CountLoss, CountLossGradients, CountLossInput,
    HeadGradients, HeadTensors, NormRule, NormTensors,
};
use crate::counts::CountsView;
use crate::kernels::{self, DecodeLossInput, Head, Segment, Wiring, Workspace};
use crate::sampling::{CellRows, MiniBatch};
use crate::Result;
use candle_core::{bail, CpuStorage, Device, InplaceOp1, Layout, Result as CandleResult, Tensor};

/// The processor. Works on the pool of threads it is called in; the same bits for any number of threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

impl Backend for Cpu {
    type Counts = ();
    type Cells = MiniBatch;
    type MiniBatch = MiniBatch;
    type Wiring = Arc<Wiring>;
    type LossMemory = Workspace;

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn counts(&self, _: &CountsView) -> CandleResult<()> {
        Ok(())
    }

    fn cells(
        &self,
        view: &CountsView,
        (): &(),
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> MiniBatch {
        MiniBatch::gather(view, groups, depth)
    }

    fn minibatch(&self, cells: MiniBatch) -> CandleResult<MiniBatch> {
        Ok(cells)
    }

    fn wiring(&self, host: &Arc<Wiring>) -> CandleResult<Arc<Wiring>> {
        Ok(host.clone())
    }

    fn carry(&self, old: &Tensor, from: &Tensor, fresh: &[f32]) -> CandleResult<Tensor> {
        let (last, from) = (old.rank() - 1, from.to_vec1::<u32>()?);
        let n_old = old.dim(last)?;
        if from
            .iter()
            .any(|&place| place as usize >= n_old + fresh.len())
        {
            bail!("{n_old} values and {} new ones are too few", fresh.len());
        }
        let old_values = HostValues::of(old)?;
        let rows = old_values.chunks_exact(n_old.max(1));
        let moved = rows.flat_map(|row| -> Vec<f32> {
            let places = from.par_iter().map(|&place| place as usize);
            let value = |place: usize| row.get(place).copied();
            places
                .map(|place| value(place).unwrap_or_else(|| fresh[place - n_old]))
                .collect()
        });
        let shape = [&old.dims()[..last], &[from.len()]].concat();
        Tensor::from_vec(moved.collect(), shape, &Device::Cpu)
    }

    fn encode(
        &self,
        minibatch: &MiniBatch,
        wiring: &Arc<Wiring>,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        check_counts(minibatch, wiring)?;
        let out = kernels::encode_forward(
            Arch::new(),
            &minibatch.counts,
            &minibatch.input,
            &minibatch.segments,
            wiring,
            &host_values(weights, wiring.n_slots())?,
            &host_values(bias, wiring.n_hidden)?,
        );
        Tensor::from_vec(out, (minibatch.n_cells(), wiring.n_hidden), &Device::Cpu)
    }

    fn encode_backward(
        &self,
        minibatch: &MiniBatch,
        wiring: &Arc<Wiring>,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        let d_weights = kernels::encode_backward(
            Arch::new(),
            &minibatch.counts,
            &minibatch.input,
            &minibatch.segments,
            wiring,
            &host_values(d_out, minibatch.n_cells() * wiring.n_hidden)?,
        );
        Tensor::from_vec(d_weights, wiring.n_slots(), &Device::Cpu)
    }

    fn shift(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &Arc<Wiring>,
        weights: &Tensor,
    ) -> CandleResult<Tensor> {
        let out = kernels::input_shift_forward(
            &host_values(shift, batches.len() * wiring.n_genes())?,
            batches,
            wiring,
            &host_values(weights, wiring.n_slots())?,
        );
        Tensor::from_vec(out, (batches.len(), wiring.n_hidden), &Device::Cpu)
    }

    fn shift_backward(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &Arc<Wiring>,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        let d_weights = kernels::input_shift_backward(
            &host_values(shift, batches.len() * wiring.n_genes())?,
            batches,
            wiring,
            &host_values(d_out, batches.len() * wiring.n_hidden)?,
        );
        Tensor::from_vec(d_weights, wiring.n_slots(), &Device::Cpu)
    }

    fn decode(
        &self,
        hidden: &Tensor,
        segments: &[Segment],
        wiring: &Arc<Wiring>,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        let n_cells = segments.last().map_or(0, |s| s.rows.end);
        let n_genes = wiring.n_genes();
        if ![n_genes, segments.len() * n_genes].contains(&bias.elem_count()) {
            bail!("{} biases do not fit {n_genes} genes", bias.elem_count());
        }
        let out = kernels::decode(
            Arch::new(),
            &host_values(hidden, n_cells * wiring.n_hidden)?,
            segments,
            wiring,
            &host_values(weights, wiring.n_slots())?,
            &HostValues::of(bias)?,
        );
        Tensor::from_vec(out, (n_genes, n_cells), &Device::Cpu)
    }

    fn count_loss(
        &self,
        input: &CountLossInput<Self>,
        gradients: bool,
        memory: &mut Workspace,
    ) -> Result<CountLoss> {
        let (m, parameters) = (input.minibatch, &input.parameters);
        let scale = HeadValues::of(parameters.scale)?;
        let dropout = parameters.dropout.map(HeadValues::of).transpose()?;
        let log_theta = parameters.log_theta.map(HostValues::of).transpose()?;
        let loss = kernels::decode_loss(
            Arch::new(),
            &DecodeLossInput {
                likelihood: input.likelihood,
                hidden: &HostValues::of(input.hidden)?,
                segments: &m.segments,
                wiring: input.wiring,
                scale: scale.head(),
                dropout: dropout.as_ref().map(HeadValues::head),
                log_theta: log_theta.as_deref(),
                log_library: &m.log_library,
                counts: &m.counts,
                statistics: input.statistics,
            },
            gradients,
            memory,
        )?;
        let value = Tensor::new(loss as f32, &Device::Cpu)?;
        let gradients = if gradients {
            let found = &memory.gradients;
            let head = |of: &kernels::HeadGradients, head: HeadTensors| -> CandleResult<_> {
                Ok(HeadGradients {
                    weights: like(&of.weights, head.weights)?,
                    bias: like(&of.bias, head.bias)?,
                })
            };
            let dropout = parameters.dropout.map(|of| head(&found.dropout, of));
            let log_theta = parameters.log_theta.zip(found.log_theta.as_ref());
            let log_theta = log_theta.map(|(of, found)| like(found, of));
            let shape = (
                input.statistics.len(),
                m.segments.len(),
                input.wiring.n_genes(),
            );
            Some(CountLossGradients {
                hidden: like(&found.hidden, input.hidden)?,
                scale: head(&found.scale, parameters.scale)?,
                dropout: dropout.transpose()?,
                log_theta: log_theta.transpose()?,
                gene_sums: Tensor::from_slice(&found.gene_sums, shape, &Device::Cpu)?,
            })
        } else {
            None
        };
        Ok(CountLoss { value, gradients })
    }

    fn px_scale(&self, logits: &Tensor) -> Result<Tensor> {
        let (_, n_cells) = logits.dims2()?;
        let shares = kernels::softmax_over_genes(&HostValues::of(logits)?, n_cells)?;
        Ok(Tensor::from_vec(shares, logits.shape(), &Device::Cpu)?)
    }

    fn log_px_scale(&self, logits: &Tensor, factor: f64, center: &Tensor) -> Result<Tensor> {
        let (n_genes, n_cells) = logits.dims2()?;
        let values = kernels::log_softmax_over_genes(
            &HostValues::of(logits)?,
            n_cells,
            factor as f32,
            &host_values(center, n_genes)?,
        )?;
        Ok(Tensor::from_vec(values, logits.shape(), &Device::Cpu)?)
    }

    fn normalise(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
    ) -> CandleResult<(Tensor, BatchStatistics)> {
        let (n_cells, n) = x.dims2()?;
        let x_values = HostValues::of(x)?;
        let statistics = kernels::feature_statistics(&x_values, n);
        let out = {
            let (gamma, beta) = (host_values(norm.gamma, n)?, host_values(norm.beta, n)?);
            kernels::normalise(&x_values, &statistics, &gamma, &beta, rule.epsilon)
        };
        let out = Tensor::from_vec(out, x.shape(), &Device::Cpu)?;
        let statistics = BatchStatistics {
            mean: Tensor::from_vec(statistics.mean, n, &Device::Cpu)?,
            variance: Tensor::from_vec(statistics.variance, n, &Device::Cpu)?,
        };
        statistics.move_running(norm, rule, n_cells)?;
        Ok((out, statistics))
    }

    fn normalise_backward(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        statistics: &BatchStatistics,
        epsilon: f64,
        d_out: &Tensor,
    ) -> CandleResult<[Tensor; 3]> {
        let (_, n) = x.dims2()?;
        let statistics = kernels::FeatureStatistics {
            mean: statistics.mean.to_vec1()?,
            variance: statistics.variance.to_vec1()?,
        };
        let gradients = kernels::normalise_backward(
            &HostValues::of(x)?,
            &statistics,
            &host_values(gamma, n)?,
            epsilon,
            &host_values(d_out, x.elem_count())?,
        );
        Ok([
            Tensor::from_vec(gradients.x, x.shape(), &Device::Cpu)?,
            Tensor::from_vec(gradients.gamma, n, &Device::Cpu)?,
            Tensor::from_vec(gradients.beta, n, &Device::Cpu)?,
        ])
    }

    fn adam(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        rows: Option<&[usize]>,
        moments: &Tensor,
        rule: AdamRule,
    ) -> CandleResult<()> {
        let n = parameter.elem_count();
        let of_row = match rows {
            None => n,
            Some(_) => parameter.dims2()?.1,
        };
        let rows = rows.unwrap_or(&[0]);
        let fits = gradient.elem_count() == rows.len() * of_row
            && moments.elem_count() == 2 * n
            && rows.iter().all(|row| (row + 1) * of_row <= n);
        if !fits {
            bail!("adam: {} gradients for {n} values", gradient.elem_count());
        }
        parameter.inplace_op1(&Update {
            gradient: &HostValues::of(gradient)?,
            rows,
            of_row,
            moments,
            rule,
        })
    }
}

/// The values of a tensor that must have so many.
fn host_values(tensor: &Tensor, expected: usize) -> CandleResult<HostValues<'_>> {
    if tensor.elem_count() != expected {
        bail!(
            "{expected} values are needed, {} are there",
            tensor.elem_count()
        );
    }
    HostValues::of(tensor)
}

/// Values in the shape of a tensor.
fn like(values: &[f32], tensor: &Tensor) -> CandleResult<Tensor> {
    Tensor::from_slice(values, tensor.shape(), &Device::Cpu)
}

fn check_counts(minibatch: &MiniBatch, wiring: &Wiring) -> CandleResult<()> {
    let n_genes = minibatch.counts.n_genes();
    if n_genes != wiring.n_genes() {
        bail!("counts of {n_genes} genes do not fit {}", wiring.n_genes());
    }
    Ok(())
}

struct HeadValues<'a> {
    weights: HostValues<'a>,
    bias: HostValues<'a>,
    bias_by_segment: bool,
}

impl<'a> HeadValues<'a> {
    fn of(head: HeadTensors<'a>) -> CandleResult<Self> {
        Ok(HeadValues {
            weights: HostValues::of(head.weights)?,
            bias: HostValues::of(head.bias)?,
            bias_by_segment: head.bias.rank() == 2,
        })
    }

    fn head(&self) -> Head<'_> {
        Head {
            weights: &self.weights,
            bias: &self.bias,
            bias_by_segment: self.bias_by_segment,
        }
    }
}

/// A step of Adam, applied to the parameter: candle lends the values of one tensor inside an operation, so those of the
/// moments are borrowed inside this one.
struct Update<'a> {
    gradient: &'a [f32],
    rows: &'a [usize],
    of_row: usize,
    moments: &'a Tensor,
    rule: AdamRule,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let parameter = contiguous(parameter, layout)?;
        self.moments.inplace_op1(&UpdateMoments {
            update: self,
            parameter: RefCell::new(parameter),
        })
    }
}

struct UpdateMoments<'a> {
    update: &'a Update<'a>,
    parameter: RefCell<&'a mut [f32]>,
}

impl InplaceOp1 for UpdateMoments<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, moments: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let moments = contiguous(moments, layout)?;
        let parameter = &mut *self.parameter.borrow_mut();
        let (first, second) = moments.split_at_mut(parameter.len());
        let Update {
            rows, of_row, rule, ..
        } = *self.update;
        let gradients = self.update.gradient.chunks_exact(of_row.max(1));
        for (&row, gradient) in rows.iter().zip(gradients) {
            let row = row * of_row..(row + 1) * of_row;
            kernels::adam(
                &mut parameter[row.clone()],
                gradient,
                &mut first[row.clone()],
                &mut second[row],
                rule,
            );
        }
        Ok(())
    }
}

fn contiguous<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> CandleResult<&'a mut [f32]> {
    let CpuStorage::F32(values) = storage else {
        bail!("adam: single precision is needed");
    };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&mut values[from..to]),
        None => bail!("adam: contiguous tensors are needed"),
    }
}
