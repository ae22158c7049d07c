//! Times of the hot passes for one mini-batch: 128 cells, 20,000 genes, 8 % non-zero, 128 hidden units, one thread; and of
//! an adjustment of the connections.
//!
//!     cargo run --release --manifest-path bench/kernels/Cargo.toml -- --bench

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use pulp::{Arch, Simd, WithSimd};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scvae::counts::{filter, CountMatrix};
use scvae::kernels::{
    self, DecodeLossInput, GeneStatistic, Head, Likelihood, Segment, Wiring, Workspace,
};
use scvae::layers::{
    adjust, unwire, wire, AdjustmentRules, ConnectionMask, Inheritance, StartingWeights,
};
use scvae::sampling::{MiniBatch, Streams};

const N_CELLS: usize = 128;
const N_GENES: usize = 20_000;
const N_HIDDEN: usize = 128;
const NON_ZERO: f64 = 0.08;

struct Step {
    matrix: CountMatrix<'static>,
    wiring: Wiring,
    segments: Vec<Segment>,
    hidden: Vec<f32>,
    weights: Vec<f32>,
    per_gene: Vec<f32>,
    per_unit: Vec<f32>,
}

impl Step {
    fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut offsets, mut genes, mut values) = (vec![0], Vec::new(), Vec::new());
        for _ in 0..N_CELLS {
            for gene in 0..N_GENES as u32 {
                if rng.random_bool(NON_ZERO) {
                    genes.push(gene);
                    // Most counts are one.
                    let count = rng.random::<f32>().powi(-1).min(500.0);
                    values.push(count.floor());
                }
            }
            offsets.push(genes.len());
        }
        let matrix = CountMatrix::from_csr(offsets, genes, values, N_GENES)
            .unwrap_or_else(|e| panic!("{e}"));
        let mask = ConnectionMask::random(N_GENES, N_HIDDEN, N_HIDDEN / 5, &mut rng);
        let wiring = wire(&[mask]);
        let mut small =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-0.1..0.1)).collect() };
        Step {
            hidden: small(N_CELLS * N_HIDDEN),
            weights: small(wiring.n_slots()),
            per_gene: small(N_GENES),
            per_unit: small(N_HIDDEN),
            segments: vec![Segment {
                batch: 0,
                rows: 0..N_CELLS,
            }],
            matrix,
            wiring,
        }
    }
}

/// Before anything asks for a pool. Not in one of its own: the measuring tool cannot be sent to another thread.
fn on_one_thread(_: &mut Criterion) {
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
    one_thread.unwrap_or_else(|e| panic!("{e}"));
}

fn kernels(c: &mut Criterion) {
    let s = Step::new();
    let view = filter(&s.matrix, 0, 0).unwrap_or_else(|e| panic!("{e}"));
    let cells = [(0..N_CELLS).collect::<Vec<usize>>()];
    let m = MiniBatch::gather(&view, &cells, None);
    let head = Head {
        weights: &s.weights,
        bias: &s.per_gene,
        bias_by_segment: false,
    };
    let log_library = vec![7.0; N_CELLS];
    let input = DecodeLossInput {
        likelihood: Likelihood::Zinb,
        hidden: &s.hidden,
        segments: &s.segments,
        wiring: &s.wiring,
        scale: head,
        dropout: Some(head),
        log_theta: Some(&s.per_gene),
        log_library: &log_library,
        counts: &m.counts,
        statistics: &[GeneStatistic::SquaredError],
    };
    c.bench_function("gather a mini-batch", |b| {
        b.iter(|| MiniBatch::gather(&view, black_box(&cells), None));
    });
    c.bench_function("encode, forwards", |b| {
        b.iter(|| {
            let (counts, x) = (&m.counts, black_box(&m.input));
            kernels::encode_forward(
                Arch::new(),
                counts,
                x,
                &s.segments,
                &s.wiring,
                &s.weights,
                &s.per_unit,
            )
        });
    });
    c.bench_function("encode, backwards", |b| {
        b.iter(|| {
            let (counts, x) = (&m.counts, black_box(&m.input));
            kernels::encode_backward(Arch::new(), counts, x, &s.segments, &s.wiring, &s.hidden)
        });
    });
    c.bench_function("decode", |b| {
        b.iter(|| {
            let hidden = black_box(&s.hidden);
            kernels::decode(
                Arch::new(),
                hidden,
                &s.segments,
                &s.wiring,
                &s.weights,
                &s.per_gene,
            )
        });
    });
    let mut workspace = Workspace::default();
    for (name, gradients) in [
        ("decode and loss", false),
        ("decode and loss, with gradients", true),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| {
                kernels::decode_loss(Arch::new(), black_box(&input), gradients, &mut workspace)
            });
        });
    }
}

/// The same cells of ever more batches: a step's work must not grow with the batches that it does not hold, and hardly
/// with those that it does.
fn batches(c: &mut Criterion) {
    let s = Step::new();
    let view = filter(&s.matrix, 0, 0).unwrap_or_else(|e| panic!("{e}"));
    let log_library = vec![7.0; N_CELLS];
    for n_batches in [2, 20, 200] {
        let mut rng = ChaCha8Rng::seed_from_u64(n_batches as u64);
        let mut cells = vec![Vec::new(); n_batches];
        (0..N_CELLS).for_each(|cell| cells[rng.random_range(0..n_batches)].push(cell));
        let m = MiniBatch::gather(&view, &cells, None);
        let present: Vec<usize> = m.segments.iter().map(|segment| segment.batch).collect();
        let of_segments: Vec<f32> = s.per_gene.repeat(present.len());
        let head = Head {
            weights: &s.weights,
            bias: &s.per_gene,
            bias_by_segment: false,
        };
        let input = DecodeLossInput {
            likelihood: Likelihood::Zinb,
            hidden: &s.hidden,
            segments: &m.segments,
            wiring: &s.wiring,
            scale: Head {
                bias: &of_segments,
                bias_by_segment: true,
                ..head
            },
            dropout: Some(head),
            log_theta: Some(&s.per_gene),
            log_library: &log_library,
            counts: &m.counts,
            statistics: &[GeneStatistic::SquaredError],
        };
        let mut workspace = Workspace::default();
        let of = format!("{} of {n_batches} batches", present.len());
        c.bench_function(&format!("decode and loss, with gradients, {of}"), |b| {
            b.iter(|| kernels::decode_loss(Arch::new(), black_box(&input), true, &mut workspace));
        });
        c.bench_function(&format!("input shift, forwards and backwards, {of}"), |b| {
            b.iter(|| {
                let (offsets, wiring) = (black_box(&of_segments), &s.wiring);
                let out = kernels::input_shift_forward(offsets, &present, wiring, &s.weights);
                kernels::input_shift_backward(offsets, &present, wiring, &out)
            });
        });
    }
}

/// What the host does in an adjustment of connections: which change, their compact form, and where values go.
fn adjustment(c: &mut Criterion) {
    let s = Step::new();
    let rules = AdjustmentRules::default();
    let start = StartingWeights {
        streams: Streams::new(1),
        layer: 0,
        bound: 0.1,
    };
    let need: Vec<f64> = (0..N_GENES)
        .map(|gene| (gene * 7919 % N_GENES) as f64)
        .collect();
    let list = s.wiring.mask(0);
    let weight = |gene: usize, unit: usize| {
        let (units, slots) = list.gene(gene);
        let place = units.binary_search(&(unit as u16));
        place.map_or(f32::INFINITY, |place| s.weights[slots[place] as usize])
    };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    c.bench_function("adjust the connections", |b| {
        b.iter(|| {
            let mut masks = unwire(black_box(&s.wiring));
            adjust(&mut masks[0], &need, &weight, &rules, &mut rng);
            let new = wire(&masks);
            let inheritance = Inheritance::new(&s.wiring, &new);
            start.fresh(&inheritance, &new)
        });
    });
}

/// What the machine can do at most: copying, and multiply-adds that stay in registers.
fn limits(c: &mut Criterion) {
    let from = vec![1u8; COPIED];
    let mut to = vec![0u8; COPIED];
    c.bench_function("copy 64 MiB", |b| {
        b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    });
    c.bench_function("multiply-adds in registers", |b| {
        b.iter(|| Arch::new().dispatch(MultiplyAdds));
    });
}

const COPIED: usize = 64 << 20;
/// Vectors that are worked on side by side, so that no multiply-add waits for another.
const CHAINS: usize = 12;
/// Multiply-adds of single numbers in all.
const MULTIPLY_ADDS: usize = 1 << 26;

struct MultiplyAdds;

impl WithSimd for MultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let factor = simd.splat_f32s(black_box(0.5));
        let mut sums = [simd.splat_f32s(black_box(1.0)); CHAINS];
        for _ in 0..MULTIPLY_ADDS / CHAINS / S::F32_LANES {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, factor);
            }
        }
        sums.iter().map(|&sum| simd.reduce_sum_f32s(sum)).sum()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = on_one_thread, limits, kernels, batches, adjustment
}
criterion_main!(benches);
