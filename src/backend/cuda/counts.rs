//! Counts on the card, compressed by cell, in the narrowest form that holds them: those of all cells where there is room
//! for them, otherwise those of one mini-batch after the other.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::Result as CandleResult;
use rayon::prelude::*;

use super::arguments::{Address, Cells};
use super::card::{address, Card};
use super::staging::{HostBytes, Staging};
use crate::counts::CountsView;
use crate::sampling::log_library_of;

/// Share of the free memory that counts may take: the rest is for the mini-batch.
const SHARE_OF_MEMORY: f64 = 0.6;
/// Bytes of a piece in which the counts of all cells are brought to the card.
const PIECE: usize = 64 << 20;

/// How a gene and its count are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    few_genes: bool,
    count: CountForm,
}

#[derive(Debug, Clone, Copy)]
enum CountForm {
    U8,
    U16,
    F32,
}

impl Form {
    /// Holds anything.
    pub(super) const WIDEST: Form = Form {
        few_genes: false,
        count: CountForm::F32,
    };

    /// As kernels have it.
    pub(super) fn name(self) -> &'static str {
        match (self.few_genes, self.count) {
            (true, CountForm::U8) => "u16_u8",
            (true, CountForm::U16) => "u16_u16",
            (true, CountForm::F32) => "u16_f32",
            (false, CountForm::U8) => "u32_u8",
            (false, CountForm::U16) => "u32_u16",
            (false, CountForm::F32) => "u32_f32",
        }
    }

    fn bytes_of_gene(self) -> usize {
        match self.few_genes {
            true => 2,
            false => 4,
        }
    }

    fn bytes_of_count(self) -> usize {
        match self.count {
            CountForm::U8 => 1,
            CountForm::U16 => 2,
            CountForm::F32 => 4,
        }
    }

    fn write(self, entry: Entry, gene: u32, count: f32) {
        match self.few_genes {
            true => entry.gene.copy_from_slice(&(gene as u16).to_ne_bytes()),
            false => entry.gene.copy_from_slice(&gene.to_ne_bytes()),
        }
        match self.count {
            CountForm::U8 => entry.count.copy_from_slice(&[count as u8]),
            CountForm::U16 => entry.count.copy_from_slice(&(count as u16).to_ne_bytes()),
            CountForm::F32 => entry.count.copy_from_slice(&count.to_ne_bytes()),
        }
    }
}

/// The bytes of one gene and its count.
struct Entry<'a> {
    gene: &'a mut [u8],
    count: &'a mut [u8],
}

/// Where in the memory of some cells their parts begin. Where the entries of each cell begin stands in front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    library: usize,
    genes: usize,
    counts: usize,
    pub(super) end: usize,
}

impl Places {
    fn new(form: Form, n_cells: usize, n_entries: usize) -> Self {
        // Numbers lie at multiples of their own size.
        let behind = |place: usize, bytes: usize| (place + bytes).next_multiple_of(16);
        let library = behind(0, (n_cells + 1) * size_of::<u64>());
        let genes = behind(library, n_cells * size_of::<f32>());
        let counts = behind(genes, n_entries * form.bytes_of_gene());
        Places {
            library,
            genes,
            counts,
            end: behind(counts, n_entries * form.bytes_of_count()),
        }
    }
}

/// Where the entries of each cell begin, with the number of all at the end, and the logarithms of the cells' totals.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) offsets: Vec<u64>,
    pub(super) log_library: Vec<f32>,
}

impl Outline {
    fn n_entries(&self) -> usize {
        self.offsets.last().map_or(0, |&n| n as usize)
    }

    /// That of some of the cells.
    fn of(&self, cells: &[usize]) -> Self {
        let mut some = Outline {
            offsets: vec![0],
            log_library: Vec::with_capacity(cells.len()),
        };
        let mut n = 0;
        for &cell in cells {
            n += self.offsets[cell + 1] - self.offsets[cell];
            some.offsets.push(n);
            some.log_library.push(self.log_library[cell]);
        }
        some
    }

    fn places(&self, form: Form) -> Places {
        Places::new(form, self.log_library.len(), self.n_entries())
    }

    /// Writes itself to the beginning of the cells' memory.
    fn write(&self, places: Places, bytes: &mut [u8]) {
        let (offsets, libraries) = bytes.split_at_mut(places.library);
        for (to, offset) in offsets.chunks_exact_mut(8).zip(&self.offsets) {
            to.copy_from_slice(&offset.to_ne_bytes());
        }
        for (to, library) in libraries.chunks_exact_mut(4).zip(&self.log_library) {
            to.copy_from_slice(&library.to_ne_bytes());
        }
    }
}

/// Writes the entries of cells, `offsets` long, each cell by one thread. `visit` is called for a cell and hands on its
/// genes and counts.
fn write_entries(
    form: Form,
    offsets: &[u64],
    mut genes: &mut [u8],
    mut counts: &mut [u8],
    visit: &(impl Fn(usize, &mut dyn FnMut(u32, f32)) + Sync),
) {
    let mut of_cells = Vec::with_capacity(offsets.len());
    for ends in offsets.windows(2) {
        let n = (ends[1] - ends[0]) as usize;
        let (own_genes, other_genes) = genes.split_at_mut(n * form.bytes_of_gene());
        let (own_counts, other_counts) = counts.split_at_mut(n * form.bytes_of_count());
        of_cells.push((own_genes, own_counts));
        (genes, counts) = (other_genes, other_counts);
    }
    let of_cells = of_cells.into_par_iter().enumerate();
    of_cells.for_each(|(cell, (genes, counts))| {
        let mut genes = genes.chunks_exact_mut(form.bytes_of_gene());
        let mut counts = counts.chunks_exact_mut(form.bytes_of_count());
        visit(cell, &mut |gene, count_of_gene| {
            if let (Some(gene_bytes), Some(count)) = (genes.next(), counts.next()) {
                let entry = Entry {
                    gene: gene_bytes,
                    count,
                };
                form.write(entry, gene, count_of_gene);
            }
        });
    });
}

/// The counts of some cells, on the card.
#[derive(Debug)]
pub(super) struct CardCounts {
    memory: CudaSlice<u8>,
    places: Places,
    pub(super) form: Form,
    pub(super) n_genes: usize,
}

impl CardCounts {
    /// The cells for a kernel; `rows` and `depth` are where their numbers and factors lie.
    pub(super) fn cells(&self, rows: Address, depth: Address) -> Cells {
        let begin = address(&self.memory).0;
        let at = |place: usize| Address(begin + place as u64);
        Cells {
            offsets: at(0),
            genes: at(self.places.genes),
            counts: at(self.places.counts),
            library: at(self.places.library),
            rows,
            depth,
        }
    }

    /// Brings all cells of a view to the card.
    fn of_view(
        card: &Card,
        view: &CountsView,
        form: Form,
        outline: &Outline,
    ) -> CandleResult<Self> {
        let places = outline.places(form);
        let mut memory = card.bytes(places.end)?;
        let mut head = vec![0; places.genes];
        outline.write(places, &mut head);
        card.copy_to(&head, &mut memory, 0)?;
        let bytes_of_entry = form.bytes_of_gene() + form.bytes_of_count();
        let (offsets, mut first) = (&outline.offsets, 0);
        while first < view.n_cells() {
            let full = offsets[first] + (PIECE / bytes_of_entry) as u64;
            let last = offsets.partition_point(|&offset| offset <= full) - 1;
            let last = last.clamp(first + 1, view.n_cells());
            let (start, n) = (
                offsets[first] as usize,
                (offsets[last] - offsets[first]) as usize,
            );
            let mut genes = vec![0; n * form.bytes_of_gene()];
            let mut counts = vec![0; n * form.bytes_of_count()];
            write_entries(
                form,
                &offsets[first..=last],
                &mut genes,
                &mut counts,
                &|cell, visit: &mut dyn FnMut(u32, f32)| view.for_each_in_cell(first + cell, visit),
            );
            let at_genes = places.genes + start * form.bytes_of_gene();
            let at_counts = places.counts + start * form.bytes_of_count();
            card.copy_to(&genes, &mut memory, at_genes)?;
            card.copy_to(&counts, &mut memory, at_counts)?;
            first = last;
        }
        Ok(CardCounts {
            memory,
            places,
            form,
            n_genes: view.n_genes(),
        })
    }
}

/// The counts of some cells, written down on the host as the card keeps them.
#[derive(Debug, Clone)]
pub(super) struct HostCounts {
    bytes: Arc<HostBytes>,
    places: Places,
    form: Form,
    n_genes: usize,
}

impl HostCounts {
    /// Writes cells down. `memory` makes memory of so many bytes, or more, and has it written to.
    pub(super) fn write(
        form: Form,
        outline: &Outline,
        n_genes: usize,
        memory: impl FnOnce(usize, &mut dyn FnMut(&mut [u8])) -> HostBytes,
        visit: impl Fn(usize, &mut dyn FnMut(u32, f32)) + Sync,
    ) -> Self {
        let places = outline.places(form);
        let bytes = memory(places.end, &mut |bytes| {
            let (head, entries) = bytes.split_at_mut(places.genes);
            let (genes, counts) = entries.split_at_mut(places.counts - places.genes);
            outline.write(places, head);
            write_entries(form, &outline.offsets, genes, counts, &visit);
        });
        HostCounts {
            bytes: Arc::new(bytes),
            places,
            form,
            n_genes,
        }
    }

    /// # Errors
    /// When memory cannot be had.
    pub(super) fn to_card(&self, card: &Card) -> CandleResult<CardCounts> {
        Ok(CardCounts {
            memory: self.bytes.to_card(card)?,
            places: self.places,
            form: self.form,
            n_genes: self.n_genes,
        })
    }
}

/// The counts of a view's cells.
#[derive(Debug)]
pub struct CudaCounts {
    outline: Outline,
    form: Form,
    pub(super) place: Place,
}

/// Where they are.
#[derive(Debug)]
pub(super) enum Place {
    /// All on the card: of a mini-batch only the numbers of its cells cross the bus.
    Card(Arc<CardCounts>),
    /// With the view. A mini-batch's are written down here, beside the step before, for the card to fetch.
    Host(Arc<Staging>),
}

impl CudaCounts {
    /// Brings a view's counts to the card where there is room for them; they may take `most` bytes of it.
    ///
    /// # Errors
    /// When the card fails.
    pub(super) fn of(card: &Card, view: &CountsView, most: Option<usize>) -> CandleResult<Self> {
        let mut outline = Outline {
            offsets: vec![0],
            log_library: Vec::with_capacity(view.n_cells()),
        };
        let (mut highest, mut whole, mut n) = (0f32, true, 0u64);
        for cell in 0..view.n_cells() {
            let mut total = 0.0;
            view.for_each_in_cell(cell, |_, count| {
                highest = highest.max(count);
                whole &= count.fract() == 0.0;
                total += f64::from(count);
                n += 1;
            });
            outline.offsets.push(n);
            outline.log_library.push(log_library_of(total));
        }
        let narrow = |limit: f32| whole && highest <= limit;
        let form = Form {
            few_genes: view.n_genes() <= 1 << 16,
            count: match () {
                () if narrow(255.0) => CountForm::U8,
                () if narrow(65_535.0) => CountForm::U16,
                () => CountForm::F32,
            },
        };
        let free = (SHARE_OF_MEMORY * card.memory()?.0 as f64) as usize;
        let place = match outline.places(form).end <= most.unwrap_or(free) {
            true => Place::Card(Arc::new(CardCounts::of_view(card, view, form, &outline)?)),
            false => Place::Host(Arc::new(Staging::new(card))),
        };
        // What lies on the card is asked for its cells there.
        if matches!(place, Place::Card(_)) {
            outline = Outline::default();
        }
        Ok(CudaCounts {
            outline,
            form,
            place,
        })
    }

    /// Writes down some cells of the view; `fetched_once` says that they are for one step.
    pub(super) fn gather(
        &self,
        staging: &Arc<Staging>,
        view: &CountsView,
        cells: &[usize],
        fetched_once: bool,
    ) -> HostCounts {
        let memory = |n_bytes, write: &mut dyn FnMut(&mut [u8])| match fetched_once {
            true => staging.write(n_bytes, write),
            false => HostBytes::ordinary(n_bytes, write),
        };
        let outline = self.outline.of(cells);
        HostCounts::write(
            self.form,
            &outline,
            view.n_genes(),
            memory,
            |cell, visit| view.for_each_in_cell(cells[cell], visit),
        )
    }
}
