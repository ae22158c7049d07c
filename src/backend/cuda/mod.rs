//! A graphics card: the kernels of `src/kernels/cuda` and dense products of the vendor's library, on tensors that lie on
//! the card. Nothing is read back before somebody asks for it.

mod activate;
mod adam;
mod arguments;
mod card;
mod cells;
mod count_loss;
mod counts;
mod dense;
mod dropout;
mod found;
mod heads;
mod latent;
mod modules;
mod parts;
mod rows;
mod scratch;
mod softmax;
mod staging;
mod wiring;

use std::sync::Arc;

use candle_core::{bail, Device, Result as CandleResult, Shape, Tensor, Var};

use self::arguments::{AddGeneSums, Address, Encode};
use self::card::{address, Card, Grid};
use self::count_loss::{bias_of, check_genes};
use self::heads::Heads;
use self::rows::DeviceRows;
use super::{
    known_result, AdamRule, AdamUpdate, Backend, BatchStatistics, BeyondBatch, CountLoss,
    CountLossInput, LinearVars, NormRule, NormTensors,
};
use crate::counts::CountsView;
use crate::kernels::{Segment, Wiring};
use crate::sampling::DropoutDraw;
use crate::Result;

pub use self::cells::{CudaCells, CudaMiniBatch};
pub use self::counts::CudaCounts;
pub use self::scratch::Scratch;
pub use self::wiring::{CudaWiring, HeadProducts};

pub(super) use self::found::{cards, check, missing, open, versions};

/// A graphics card. Every sum is formed in a fixed order: the same card gives the same bits at every run.
#[derive(Debug, Clone)]
pub struct Cuda {
    card: Card,
    most_counts: Option<usize>,
    products: HeadProducts,
}

/// Threads of a block of the encoder's kernel: hidden units, and groups that share a cell's counts.
const ENCODE_THREADS: (u32, u32) = (128, 4);

impl Cuda {
    /// The card of this number, from 0.
    ///
    /// # Errors
    /// When the card or one of its libraries fails.
    pub fn new(ordinal: usize) -> CandleResult<Self> {
        Ok(Cuda {
            card: Card::new(ordinal)?,
            most_counts: None,
            products: HeadProducts::default(),
        })
    }

    /// Keeps a view's counts on the card only if they take no more than so many bytes; otherwise those of one mini-batch
    /// after the other are brought there. By default they may take six tenths of the memory that is free.
    pub fn with_counts_of_at_most(self, bytes: usize) -> Self {
        Cuda {
            most_counts: Some(bytes),
            ..self
        }
    }

    /// Makes the products of the heads in this way. By default they are dense: no card has been seen on which the other way
    /// was measured.
    pub fn with_head_products(self, products: HeadProducts) -> Self {
        Cuda { products, ..self }
    }

    /// How much memory there is, and how much of it is free, for messages.
    pub(super) fn memory(&self) -> String {
        match self.card.memory() {
            Ok((free, total)) => {
                let mib = |bytes: usize| bytes >> 20;
                format!("{} MiB, {} of them free", mib(total), mib(free))
            }
            Err(e) => e.to_string(),
        }
    }

    /// A mini-batch's rows and a bias, as the kernels read them.
    fn bias_and_rows(
        &self,
        segments: &[Segment],
        bias: &Tensor,
        n_genes: usize,
    ) -> CandleResult<(DeviceRows, card::Lent, arguments::Bias)> {
        let rows = DeviceRows::new(&self.card, segments, &[])?;
        let (lent, bias) = bias_of(&self.card, bias, n_genes, segments.len())?;
        Ok((rows, lent, bias))
    }
}

impl Backend for Cuda {
    type Counts = CudaCounts;
    type Cells = CudaCells;
    type MiniBatch = CudaMiniBatch;
    type Wiring = CudaWiring;
    type LossMemory = Scratch;

    fn device(&self) -> &Device {
        &self.card.device
    }

    fn counts(&self, view: &CountsView) -> CandleResult<Self::Counts> {
        CudaCounts::of(&self.card, view, self.most_counts)
    }

    fn cells(
        &self,
        view: &CountsView,
        counts: &Self::Counts,
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> CudaCells {
        CudaCells::new(view, counts, groups, depth)
    }

    fn minibatch(&self, cells: CudaCells) -> CandleResult<CudaMiniBatch> {
        CudaMiniBatch::of(&self.card, cells)
    }

    fn wiring(&self, host: &Arc<Wiring>) -> CandleResult<CudaWiring> {
        CudaWiring::new(&self.card, host, self.products)
    }

    fn encode(
        &self,
        minibatch: &CudaMiniBatch,
        wiring: &CudaWiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        check_genes(minibatch.n_genes(), wiring)?;
        let (card, n_hidden) = (&self.card, wiring.n_hidden);
        let out = card.fresh::<f32>((minibatch.n_cells(), n_hidden))?;
        let bias = card.lend_exactly(bias, n_hidden)?;
        let kernel = format!("encode_{}", minibatch.form());
        for (mask, rows) in wiring.runs(&minibatch.segments) {
            let dense = wiring.expand(card, mask, &[weights], wiring.n_genes)?;
            let arguments = Encode {
                cells: minibatch.cells(),
                first: rows.start as i32,
                n_hidden: n_hidden as i32,
                dense: card.lend::<f32>(&dense)?.at,
                bias: bias.at,
                out: card.lend::<f32>(&out)?.at,
            };
            let grid = Grid {
                threads: ENCODE_THREADS,
                ..Grid::new((rows.len(), 1), 1)
            };
            card.launch(&kernel, grid, &arguments)?;
        }
        Ok(out)
    }

    fn encode_backward(
        &self,
        minibatch: &CudaMiniBatch,
        wiring: &CudaWiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        check_genes(minibatch.n_genes(), wiring)?;
        let mut gradients = wiring.gradients(&self.card, 1)?;
        for run in wiring.runs(&minibatch.segments) {
            wiring.encode_back(&self.card, run, minibatch, d_out, &gradients[0])?;
        }
        gradients.pop().map_or_else(|| bail!("no gradient"), Ok)
    }

    fn shift(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &CudaWiring,
        weights: &Tensor,
    ) -> CandleResult<Tensor> {
        check_genes(shift.dim(1)?, wiring)?;
        let runs = wiring.runs(&rows_of(batches));
        let out = runs.iter().map(|(mask, rows)| {
            let dense = wiring.expand(&self.card, *mask, &[weights], wiring.n_genes)?;
            shift.narrow(0, rows.start, rows.len())?.matmul(&dense)
        });
        all_rows(out.collect::<CandleResult<Vec<_>>>()?)
    }

    fn shift_backward(
        &self,
        shift: &Tensor,
        batches: &[usize],
        wiring: &CudaWiring,
        d_out: &Tensor,
    ) -> CandleResult<Tensor> {
        let mut gradients = wiring.gradients(&self.card, 1)?;
        for (mask, rows) in wiring.runs(&rows_of(batches)) {
            let own = shift.narrow(0, rows.start, rows.len())?;
            let d_own = d_out.narrow(0, rows.start, rows.len())?.contiguous()?;
            let dense = own.t()?.matmul(&d_own)?;
            wiring.collect(&self.card, mask, &dense, &gradients)?;
        }
        gradients.pop().map_or_else(|| bail!("no gradient"), Ok)
    }

    fn decode(
        &self,
        hidden: &Tensor,
        segments: &[Segment],
        wiring: &CudaWiring,
        weights: &Tensor,
        bias: &Tensor,
    ) -> CandleResult<Tensor> {
        let n_genes = wiring.n_genes;
        let (rows, _lent, bias) = self.bias_and_rows(segments, bias, n_genes)?;
        let heads = Heads {
            card: &self.card,
            wiring,
            weights: &[weights],
            hidden: &hidden.contiguous()?,
            runs: &wiring.runs(segments),
        };
        let logits = heads.logits()?;
        softmax::add_bias(&self.card, &logits.values, n_genes, &rows, bias)
    }

    fn count_loss(
        &self,
        input: &CountLossInput<Self>,
        gradients: bool,
        memory: &mut Scratch,
    ) -> Result<CountLoss> {
        count_loss::count_loss(&self.card, input, gradients, memory)
    }

    fn px_scale(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(softmax::shares(&self.card, logits, None)?)
    }

    fn log_px_scale(&self, logits: &Tensor, factor: f64, center: &Tensor) -> Result<Tensor> {
        Ok(softmax::shares(&self.card, logits, Some((factor, center)))?)
    }

    fn normalise(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
    ) -> CandleResult<(Tensor, BatchStatistics)> {
        activate::forward(&self.card, x, norm, rule, false, None)
    }

    fn normalise_backward(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        statistics: &BatchStatistics,
        epsilon: f64,
        d_out: &Tensor,
    ) -> CandleResult<[Tensor; 3]> {
        let way = activate::WayBack {
            x: x.clone(),
            gamma: gamma.clone(),
            beta: gamma.clone(),
            statistics: statistics.clone(),
            epsilon,
            rectifies: false,
            factors: None,
        };
        way.back(&self.card, d_out)
    }

    fn dropout(&self, draw: &DropoutDraw, shape: &Shape) -> CandleResult<Tensor> {
        dropout::factors(&self.card, draw, shape)
    }

    fn activate(
        &self,
        x: &Tensor,
        norm: NormTensors,
        rule: NormRule,
        factors: Option<Tensor>,
    ) -> CandleResult<Tensor> {
        let (out, statistics) =
            activate::forward(&self.card, x, norm, rule, true, factors.as_ref())?;
        let way = activate::WayBack {
            x: x.detach(),
            gamma: norm.gamma.detach(),
            beta: norm.beta.detach(),
            statistics,
            epsilon: rule.epsilon,
            rectifies: true,
            factors,
        };
        let card = self.card.clone();
        known_result(&[x, norm.gamma, norm.beta], out, move |d_out| {
            Ok(way.back(&card, d_out)?.to_vec())
        })
    }

    fn linear(&self, x: &Tensor, weight: &Var, bias: &Var) -> CandleResult<Tensor> {
        dense::linear(&self.card, x, weight, bias)
    }

    fn correct(
        &self,
        x: &Tensor,
        segments: &[Segment],
        layers: &[LinearVars],
        beta: f64,
    ) -> CandleResult<Tensor> {
        modules::correct(&self.card, x, segments, layers, beta)
    }

    fn apply_norm(&self, x: &Tensor, norm: NormTensors, rule: NormRule) -> CandleResult<Tensor> {
        activate::apply(&self.card, x, norm, rule)
    }

    fn take_off(&self, x: &Tensor, shift: &Tensor, segments: &[Segment]) -> CandleResult<Tensor> {
        dense::take_off(&self.card, x, shift, segments)
    }

    fn draw(
        &self,
        mean: &Tensor,
        log_variance: &Tensor,
        least: f64,
        noise: &Tensor,
    ) -> CandleResult<(Tensor, Tensor)> {
        latent::draw(&self.card, mean, log_variance, least, noise)
    }

    fn add_gene_sums(
        &self,
        sums: &Tensor,
        new: &Tensor,
        masks: &[usize],
        beyond: Option<BeyondBatch>,
    ) -> CandleResult<()> {
        let ((n_statistics, n_segments, n_genes), card) = (new.dims3()?, &self.card);
        let n_masks = sums.dim(0)?;
        let in_range = masks.iter().all(|&mask| mask < n_masks) && masks.len() == n_segments;
        if !in_range || sums.elem_count() != n_masks * n_statistics * n_genes {
            bail!("sums of genes: {masks:?} do not fit {:?}", new.dims());
        }
        let batches = beyond.map_or(&[][..], |beyond| beyond.batches);
        let places = masks.iter().chain(batches).map(|&place| place as u32);
        let places = card.copy(&places.collect::<Vec<_>>())?;
        let log_shares = beyond.map(|beyond| card.lend::<f64>(beyond.log_shares));
        let log_shares = log_shares.transpose()?;
        let (sums, added) = (card.lend::<f64>(sums)?, card.lend::<f32>(new)?);
        let arguments = AddGeneSums {
            sums: sums.at,
            added: added.at,
            places: address(&places),
            log_shares: log_shares.as_ref().map_or(Address::default(), |l| l.at),
            n_statistics: n_statistics as i32,
            n_segments: n_segments as i32,
            n_genes: n_genes as i32,
            counts: beyond.map_or(0, |beyond| beyond.counts as i32),
            of_statistic: beyond.map_or(0, |beyond| beyond.of_statistic as i32),
        };
        let grid = Grid::new((n_genes.div_ceil(256), n_statistics), 256);
        card.launch("add_gene_sums", grid, &arguments)
    }

    fn adam_all(&self, updates: &[AdamUpdate], rule: AdamRule) -> CandleResult<()> {
        adam::step(&self.card, updates, rule)
    }

    fn adam(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        rows: Option<&[usize]>,
        moments: &Tensor,
        rule: AdamRule,
    ) -> CandleResult<()> {
        let update = AdamUpdate {
            parameter,
            gradient,
            rows,
            moments,
            weight_decay: rule.weight_decay,
        };
        self.adam_all(&[update], rule)
    }
}

/// A row for each of the batches, as segments.
fn rows_of(batches: &[usize]) -> Vec<Segment> {
    let rows = batches.iter().enumerate();
    rows.map(|(row, &batch)| Segment {
        batch,
        rows: row..row + 1,
    })
    .collect()
}

fn all_rows(parts: Vec<Tensor>) -> CandleResult<Tensor> {
    match &parts[..] {
        [all] => Ok(all.clone()),
        several => Tensor::cat(several, 0),
    }
}
