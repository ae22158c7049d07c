//! The cells of a mini-batch, and their counts on the card.

use std::sync::Arc;

use candle_core::{DType, Result as CandleResult, Tensor};

use super::arguments::{Address, Cells, Gather};
use super::card::{Card, Grid};
use super::counts::{CardCounts, CudaCounts, Form, HostCounts, Outline, Place};
use super::rows::DeviceRows;
use super::staging::HostBytes;
use crate::counts::CountsView;
use crate::kernels::Segment;
use crate::sampling::{segments_of, CellRows, MiniBatch};

/// Cells that make a mini-batch.
#[derive(Debug, Clone)]
pub struct CudaCells {
    segments: Arc<Vec<Segment>>,
    counts: Source,
    depth: Option<Vec<f32>>,
}

#[derive(Debug, Clone)]
enum Source {
    /// Among those of all cells.
    Card(Arc<CardCounts>, Vec<u32>),
    /// By themselves.
    Host(HostCounts),
}

impl CudaCells {
    /// `depth` has a factor for each cell of a training step, and there is none for cells that do not train.
    pub(super) fn new(
        view: &CountsView,
        counts: &CudaCounts,
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> Self {
        let cells: Vec<usize> = groups.iter().flatten().copied().collect();
        let source = match &counts.place {
            Place::Card(on_card) => {
                let rows = cells.iter().map(|&cell| cell as u32).collect();
                Source::Card(on_card.clone(), rows)
            }
            Place::Host(staging) => {
                Source::Host(counts.gather(staging, view, &cells, depth.is_some()))
            }
        };
        CudaCells {
            segments: Arc::new(segments_of(groups)),
            counts: source,
            depth: depth.map(<[f32]>::to_vec),
        }
    }
}

impl CellRows for CudaCells {
    fn segments(&self) -> &Arc<Vec<Segment>> {
        &self.segments
    }
}

impl From<MiniBatch> for CudaCells {
    /// A mini-batch's counts are compressed by gene on the host, those of the card by cell.
    fn from(host: MiniBatch) -> Self {
        let by_gene = &host.counts;
        let mut of_cells = vec![Vec::new(); host.n_cells()];
        for gene in 0..by_gene.n_genes() {
            let (cells, counts) = by_gene.gene(gene);
            for (&cell, &count) in cells.iter().zip(counts) {
                of_cells[cell as usize].push((gene as u32, count));
            }
        }
        let mut outline = Outline {
            offsets: vec![0],
            log_library: host.log_library.to_vec(),
        };
        let mut n = 0;
        for of_cell in &of_cells {
            n += of_cell.len() as u64;
            outline.offsets.push(n);
        }
        let visit = |cell: usize, visit: &mut dyn FnMut(u32, f32)| {
            for &(gene, count) in &of_cells[cell] {
                visit(gene, count);
            }
        };
        let n_genes = by_gene.n_genes();
        let memory = HostBytes::ordinary;
        CudaCells {
            segments: host.segments.clone(),
            counts: Source::Host(HostCounts::write(
                Form::WIDEST,
                &outline,
                n_genes,
                memory,
                visit,
            )),
            depth: host.depth.as_ref().map(|depth| depth.to_vec()),
        }
    }
}

/// A mini-batch's counts on the card: compressed by cell, among those of others or by themselves, and as a table.
#[derive(Debug, Clone)]
pub struct CudaMiniBatch {
    compressed: Arc<CardCounts>,
    has_depth: bool,
    pub(super) rows: Arc<DeviceRows>,
    pub(super) segments: Arc<Vec<Segment>>,
    /// Genes x cells.
    pub(super) counts: Tensor,
    pub(super) log_library: Tensor,
}

impl CudaMiniBatch {
    /// # Errors
    /// When memory cannot be had.
    pub(super) fn of(card: &Card, cells: CudaCells) -> CandleResult<Self> {
        let (n_cells, segments) = (cells.n_cells(), cells.segments);
        let (compressed, mut numbers) = match cells.counts {
            Source::Card(counts, rows) => (counts, rows),
            Source::Host(counts) => {
                let rows = (0..n_cells as u32).collect();
                (Arc::new(counts.to_card(card)?), rows)
            }
        };
        let depth = &cells.depth;
        numbers.extend(depth.iter().flatten().map(|depth| depth.to_bits()));
        let minibatch = CudaMiniBatch {
            has_depth: depth.is_some(),
            rows: Arc::new(DeviceRows::new(card, &segments, &numbers)?),
            segments,
            counts: Tensor::zeros((compressed.n_genes, n_cells), DType::F32, &card.device)?,
            log_library: card.fresh::<f32>(n_cells)?,
            compressed,
        };
        let arguments = Gather {
            cells: minibatch.cells(),
            n_cells: n_cells as i32,
            table: card.lend::<f32>(&minibatch.counts)?.at,
            log_library: card.lend::<f32>(&minibatch.log_library)?.at,
        };
        let kernel = format!("gather_{}", minibatch.form());
        card.launch(&kernel, Grid::new((n_cells, 1), 256), &arguments)?;
        Ok(minibatch)
    }

    pub(super) fn n_genes(&self) -> usize {
        self.compressed.n_genes
    }

    pub(super) fn n_cells(&self) -> usize {
        self.segments.last().map_or(0, |s| s.rows.end)
    }

    /// The form of the compressed counts.
    pub(super) fn form(&self) -> &'static str {
        self.compressed.form.name()
    }

    /// The cells among the compressed counts.
    pub(super) fn cells(&self) -> Cells {
        let depth = match self.has_depth {
            true => self.rows.extra(self.n_cells()),
            false => Address::default(),
        };
        self.compressed.cells(self.rows.extra(0), depth)
    }
}
