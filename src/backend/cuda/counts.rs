//! Counts that live on the card, compressed by cell: of a mini-batch only row numbers and depth factors cross the bus.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Result as CandleResult, Tensor};

use super::arguments::{Address, Cells, Gather};
use super::card::{address, Card, Grid};
use super::rows::DeviceRows;
use crate::counts::CountsView;
use crate::kernels::Segment;
use crate::sampling::{log_library_of, segments_of, CellRows, MiniBatch};

/// Share of the free memory that counts may take: the rest is for the mini-batch.
const SHARE_OF_MEMORY: f64 = 0.6;

/// A view's counts on the card, in the narrowest form that holds them.
#[derive(Debug)]
pub struct ResidentCounts {
    offsets: CudaSlice<u64>,
    genes: Genes,
    counts: Counts,
    library: CudaSlice<f32>,
    n_genes: usize,
}

#[derive(Debug)]
enum Genes {
    U16(CudaSlice<u16>),
    U32(CudaSlice<u32>),
}

#[derive(Debug)]
enum Counts {
    U8(CudaSlice<u8>),
    U16(CudaSlice<u16>),
    F32(CudaSlice<f32>),
}

/// Counts compressed by cell, on the host.
struct ByCell {
    offsets: Vec<u64>,
    genes: Vec<u32>,
    counts: Vec<f32>,
}

impl ByCell {
    /// Of a mini-batch, whose counts are compressed by gene.
    fn of(host: &MiniBatch) -> Self {
        let by_gene = &host.counts;
        let mut offsets = vec![0u64; host.n_cells() + 1];
        for &cell in &by_gene.cells {
            offsets[cell as usize + 1] += 1;
        }
        for cell in 0..host.n_cells() {
            offsets[cell + 1] += offsets[cell];
        }
        let mut next = offsets.clone();
        let mut genes = vec![0; by_gene.cells.len()];
        let mut counts = vec![0.0; by_gene.cells.len()];
        for gene in 0..by_gene.n_genes() {
            let (cells, of_gene) = by_gene.gene(gene);
            for (&cell, &count) in cells.iter().zip(of_gene) {
                let at = next[cell as usize] as usize;
                (genes[at], counts[at]) = (gene as u32, count);
                next[cell as usize] += 1;
            }
        }
        ByCell {
            offsets,
            genes,
            counts,
        }
    }
}

impl ResidentCounts {
    /// Brings a mini-batch's counts to the card.
    ///
    /// # Errors
    /// When memory cannot be had.
    fn of_minibatch(card: &Card, host: &MiniBatch) -> CandleResult<Self> {
        let by_cell = ByCell::of(host);
        Ok(ResidentCounts {
            offsets: card.copy(&by_cell.offsets)?,
            genes: Genes::U32(card.copy(&by_cell.genes)?),
            counts: Counts::F32(card.copy(&by_cell.counts)?),
            library: card.copy(&host.log_library)?,
            n_genes: host.counts.n_genes(),
        })
    }

    /// The name of the form in which genes and counts are kept, as kernels have it.
    fn form(&self) -> &'static str {
        match (&self.genes, &self.counts) {
            (Genes::U16(_), Counts::U8(_)) => "u16_u8",
            (Genes::U16(_), Counts::U16(_)) => "u16_u16",
            (Genes::U16(_), Counts::F32(_)) => "u16_f32",
            (Genes::U32(_), Counts::U8(_)) => "u32_u8",
            (Genes::U32(_), Counts::U16(_)) => "u32_u16",
            (Genes::U32(_), Counts::F32(_)) => "u32_f32",
        }
    }

    /// Brings a view's counts to the card; `None` when they would leave too little room.
    ///
    /// # Errors
    /// When the card fails.
    pub(super) fn of(card: &Card, view: &CountsView) -> CandleResult<Option<Self>> {
        let mut offsets = vec![0u64];
        let (mut highest, mut whole, mut n) = (0f32, true, 0u64);
        let mut library = Vec::with_capacity(view.n_cells());
        for cell in 0..view.n_cells() {
            let mut total = 0.0;
            view.for_each_in_cell(cell, |_, count| {
                highest = highest.max(count);
                whole &= count.fract() == 0.0;
                total += f64::from(count);
                n += 1;
            });
            offsets.push(n);
            library.push(log_library_of(total));
        }
        let narrow = |limit: f32| whole && highest <= limit;
        let bytes_of_count = match () {
            () if narrow(255.0) => 1,
            () if narrow(65_535.0) => 2,
            () => 4,
        };
        let few_genes = view.n_genes() <= 1 << 16;
        let bytes = n * (bytes_of_count + if few_genes { 2 } else { 4 });
        if bytes as f64 > SHARE_OF_MEMORY * card.memory()?.0 as f64 {
            return Ok(None);
        }
        Ok(Some(ResidentCounts {
            offsets: card.copy(&offsets)?,
            genes: match few_genes {
                true => Genes::U16(card.copy(&entries(view, n, |gene, _| gene as u16))?),
                false => Genes::U32(card.copy(&entries(view, n, |gene, _| gene))?),
            },
            counts: match bytes_of_count {
                1 => Counts::U8(card.copy(&entries(view, n, |_, x| x as u8))?),
                2 => Counts::U16(card.copy(&entries(view, n, |_, x| x as u16))?),
                _ => Counts::F32(card.copy(&entries(view, n, |_, x| x))?),
            },
            library: card.copy(&library)?,
            n_genes: view.n_genes(),
        }))
    }
}

fn entries<T>(view: &CountsView, n: u64, form: impl Fn(u32, f32) -> T) -> Vec<T> {
    let mut all = Vec::with_capacity(n as usize);
    for cell in 0..view.n_cells() {
        view.for_each_in_cell(cell, |gene, count| all.push(form(gene, count)));
    }
    all
}

/// Cells that make a mini-batch.
#[derive(Debug, Clone)]
pub struct CudaCells {
    segments: Arc<Vec<Segment>>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Host(MiniBatch),
    Card {
        counts: Arc<ResidentCounts>,
        rows: Vec<u32>,
        depth: Option<Vec<f32>>,
    },
}

impl CudaCells {
    /// Cells whose counts are on the card.
    pub(super) fn resident(
        counts: &Arc<ResidentCounts>,
        groups: &[Vec<usize>],
        depth: Option<&[f32]>,
    ) -> Self {
        CudaCells {
            segments: Arc::new(segments_of(groups)),
            source: Source::Card {
                counts: counts.clone(),
                rows: groups.iter().flatten().map(|&cell| cell as u32).collect(),
                depth: depth.map(<[f32]>::to_vec),
            },
        }
    }
}

impl CellRows for CudaCells {
    fn segments(&self) -> &Arc<Vec<Segment>> {
        &self.segments
    }
}

impl From<MiniBatch> for CudaCells {
    fn from(host: MiniBatch) -> Self {
        CudaCells {
            segments: host.segments.clone(),
            source: Source::Host(host),
        }
    }
}

/// A mini-batch's counts on the card: compressed by cell, among those of others, and as a table.
#[derive(Debug, Clone)]
pub struct CudaMiniBatch {
    resident: Arc<ResidentCounts>,
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
        let (resident, rows, depth) = match cells.source {
            Source::Card {
                counts,
                rows,
                depth,
            } => (counts, rows, depth),
            Source::Host(host) => {
                let counts = ResidentCounts::of_minibatch(card, &host)?;
                let depth = host.depth.as_ref().map(|depth| depth.to_vec());
                (Arc::new(counts), (0..n_cells as u32).collect(), depth)
            }
        };
        let mut numbers = rows;
        numbers.extend(depth.iter().flatten().map(|depth| depth.to_bits()));
        let minibatch = CudaMiniBatch {
            has_depth: depth.is_some(),
            rows: Arc::new(DeviceRows::new(card, &segments, &numbers)?),
            segments,
            counts: Tensor::zeros((resident.n_genes, n_cells), DType::F32, &card.device)?,
            log_library: card.fresh::<f32>(n_cells)?,
            resident,
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
        self.resident.n_genes
    }

    pub(super) fn n_cells(&self) -> usize {
        self.segments.last().map_or(0, |s| s.rows.end)
    }

    /// The form of the compressed counts.
    pub(super) fn form(&self) -> &'static str {
        self.resident.form()
    }

    /// The cells among the compressed counts.
    pub(super) fn cells(&self) -> Cells {
        let resident = &self.resident;
        Cells {
            offsets: address(&resident.offsets),
            genes: match &resident.genes {
                Genes::U16(genes) => address(genes),
                Genes::U32(genes) => address(genes),
            },
            counts: match &resident.counts {
                Counts::U8(counts) => address(counts),
                Counts::U16(counts) => address(counts),
                Counts::F32(counts) => address(counts),
            },
            library: address(&resident.library),
            rows: self.rows.extra(0),
            depth: match self.has_depth {
                true => self.rows.extra(self.n_cells()),
                false => Address::default(),
            },
        }
    }
}
