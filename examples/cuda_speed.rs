//! How fast a graphics card trains: cells per second of epochs after the first, on simulated counts of which 7 in 100 are
//! above zero. One line of JSON for each size. Connections are adjusted after every epoch with `--adjust` only: that is
//! the host's work and depends on the genes alone. With `--batches N` cells are dealt to N batches; with `--fetch` the card
//! fetches the counts of each mini-batch, as if there were no room for those of all cells; with `--sparse` the products of
//! the heads are made by their connections alone.
//!
//!     cargo run --release --features cuda --example cuda_speed -- [--genes 2000,20000] [--batch-size 128,1024]
//!         [--epochs 6] [--cells 20000] [--device 0|cpu] [--tf32] [--adjust] [--batches 1] [--fetch] [--sparse]

use std::sync::Mutex;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::backend::{allow_tf32, on_device, Backend, OnDevice};
use scvae::batches::Design;
use scvae::counts::{filter, CountMatrix};
use scvae::model::{EpochRecord, Settings};
use scvae::training::{train, with_threads, Monitor, TrainingCells};
use scvae::Result;

/// Notes when epochs end.
struct Ends(Mutex<Vec<Instant>>);

impl Monitor for Ends {
    fn epoch_done(&self, _: &EpochRecord, _: usize) {
        if let Ok(mut ends) = self.0.lock() {
            ends.push(Instant::now());
        }
    }
}

/// The values of an option, or those that it has by default.
fn option(name: &str, default: &str) -> Vec<String> {
    let mut arguments = std::env::args();
    let given = arguments
        .by_ref()
        .find(|a| a == name)
        .and_then(|_| arguments.next());
    given
        .unwrap_or_else(|| default.into())
        .split(',')
        .map(String::from)
        .collect()
}

fn numbers(name: &str, default: &str) -> Vec<usize> {
    option(name, default)
        .iter()
        .filter_map(|x| x.parse().ok())
        .collect()
}

/// Mostly ones and twos; 7 genes in 100 of each cell.
fn counts(n_cells: usize, n_genes: usize) -> Result<CountMatrix<'static>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut offsets, mut genes, mut values) = (vec![0], vec![], vec![]);
    for _ in 0..n_cells {
        let mut gene = rng.random_range(0..27);
        while gene < n_genes {
            genes.push(gene as u32);
            values.push(
                (1 + rng.random_range(0..10u32) / 6 + rng.random_range(0..20u32) / 19 * 5) as f32,
            );
            gene += rng.random_range(1..28);
        }
        offsets.push(genes.len());
    }
    CountMatrix::from_csr(offsets, genes, values, n_genes)
}

/// Cells per second.
struct Speed<'a> {
    matrix: &'a CountMatrix<'a>,
    settings: &'a Settings,
    n_batches: usize,
}

impl OnDevice for Speed<'_> {
    type Output = f64;

    fn run<B: Backend>(self, backend: &B) -> Result<f64> {
        let view = filter(self.matrix, 0, 0)?;
        let batch: Vec<usize> = (0..view.n_cells()).map(|c| c % self.n_batches).collect();
        let cells = TrainingCells {
            view: &view,
            batch: &batch,
            design: &Design::single(self.n_batches),
        };
        let ends = Ends(Mutex::default());
        train(cells, self.settings, backend, &ends)?;
        let ends = ends.0.into_inner().unwrap_or_default();
        let seconds = ends.windows(2).map(|w| (w[1] - w[0]).as_secs_f64());
        let mut seconds: Vec<f64> = seconds.collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied();
        Ok(view.n_cells() as f64 / median.unwrap_or(f64::NAN))
    }
}

/// On a card that keeps no counts, or makes the products of the heads by their connections.
#[cfg(feature = "cuda")]
fn on_card(name: &str, work: Speed, fetches: bool, sparse: bool) -> Result<f64> {
    use scvae::backend::{Cuda, HeadProducts};
    let ordinal = name.strip_prefix("cuda:").and_then(|n| n.parse().ok());
    let mut card = Cuda::new(ordinal.unwrap_or(0))?;
    if fetches {
        card = card.with_counts_of_at_most(0);
    }
    if sparse {
        card = card.with_head_products(HeadProducts::Sparse);
    }
    work.run(&card)
}

#[cfg(not(feature = "cuda"))]
fn on_card(name: &str, _: Speed, _: bool, _: bool) -> Result<f64> {
    let message = format!("--fetch and --sparse on {name} need the feature cuda");
    Err(scvae::Error::Argument(message))
}

fn main() -> Result<()> {
    let device = &option("--device", "0")[0];
    let name = match device.parse::<usize>() {
        Ok(ordinal) => format!("cuda:{ordinal}"),
        Err(_) => device.clone(),
    };
    let [tf32, adjusts, fetches, sparse] =
        ["--tf32", "--adjust", "--fetch", "--sparse"].map(|own| std::env::args().any(|a| a == own));
    let n_batches = numbers("--batches", "1")[0];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    allow_tf32(tf32);
    for n_genes in numbers("--genes", "2000,20000,40000") {
        let matrix = counts(numbers("--cells", "20000")[0], n_genes)?;
        for batch_size in numbers("--batch-size", "128,1024,4096") {
            let settings = Settings {
                batch_size,
                max_epochs: Some(numbers("--epochs", "6")[0]),
                train_size: 1.0,
                adjust_every: usize::from(adjusts),
                threads,
                ..Settings::default()
            };
            let work = Speed {
                matrix: &matrix,
                settings: &settings,
                n_batches,
            };
            let speed = with_threads(threads, || match fetches || sparse {
                true => on_card(&name, work, fetches, sparse),
                false => on_device(&name, work),
            })?;
            println!(
                "{{\"device\": \"{device}\", \"tf32\": {tf32}, \"adjusts\": {adjusts}, \"fetches\": {fetches}, \
                 \"sparse\": {sparse}, \"batches\": {n_batches}, \"genes\": {n_genes}, \"batch_size\": {batch_size}, \
                 \"cells_per_second\": {speed:.0}}}"
            );
        }
    }
    Ok(())
}
