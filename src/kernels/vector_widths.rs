//! Every pass with vectors of every width that this machine can be made to use: the bits must be the same.

use pulp::x86::{V3_128b, V3_512b, V3, V4};
use pulp::{Scalar, Simd, WithSimd};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::decode_loss::decode_loss;
use super::instructions::Instructions;
use super::softmax::{log_softmax_with, softmax_with};
use super::{
    decode, encode, ConnectionList, DecodeLossInput, GeneMajorCounts, GeneStatistic, Head,
    Likelihood, Segment, Wiring, Workspace,
};

/// These instructions and no others.
#[derive(Clone, Copy)]
struct Exactly<S>(S);

impl<S: Simd> Instructions for Exactly<S> {
    fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.0.vectorize(op)
    }
}

/// AVX2's instructions, vectors of another width put together from them.
#[derive(Clone, Copy)]
struct OtherWidth<S>(V3, S);

impl<S: Simd> Instructions for OtherWidth<S> {
    fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        Simd::vectorize(self.0, Instead(self.1, op))
    }
}

struct Instead<S, Op>(S, Op);

impl<S: Simd, Op: WithSimd> WithSimd for Instead<S, Op> {
    type Output = Op::Output;

    #[inline(always)]
    fn with_simd<T: Simd>(self, _: T) -> Op::Output {
        self.1.with_simd(self.0)
    }
}

/// More cells than a tile holds, more hidden units than are worked on at a time, none a multiple of any width.
struct Problem {
    counts: GeneMajorCounts,
    input: Vec<f32>,
    segments: Vec<Segment>,
    wiring: Wiring,
    hidden: Vec<f32>,
    weights: [Vec<f32>; 2],
    of_units: Vec<f32>,
    of_genes: [Vec<f32>; 2],
    of_segments: Vec<f32>,
    log_library: Vec<f32>,
}

const N_GENES: usize = 83;
const N_HIDDEN: usize = 75;

impl Problem {
    fn new(n_masks: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(n_masks as u64);
        let segments: Vec<Segment> = [(0, 0..71), (2, 71..72), (1, 72..203)]
            .map(|(batch, rows)| Segment { batch, rows })
            .into();
        let n_cells = 203;
        let mut counts = GeneMajorCounts {
            n_cells,
            offsets: vec![0],
            ..Default::default()
        };
        for _ in 0..N_GENES {
            for cell in 0..n_cells as u32 {
                if rng.random_bool(0.2) {
                    let count = rng.random::<f32>().powi(-2).min(3000.0).floor();
                    counts.cells.push(cell);
                    counts.counts.push(count);
                }
            }
            counts.offsets.push(counts.cells.len() as u32);
        }
        // All connections are in the list of weights; a mask uses some.
        let mut wiring = Wiring {
            n_hidden: N_HIDDEN,
            offsets: (0..=N_GENES).map(|g| (g * N_HIDDEN) as u32).collect(),
            hidden: (0..N_GENES * N_HIDDEN)
                .map(|slot| (slot % N_HIDDEN) as u16)
                .collect(),
            masks: Vec::new(),
        };
        for _ in 0..n_masks {
            let mut mask = ConnectionList {
                offsets: vec![0],
                ..Default::default()
            };
            for slot in 0..wiring.hidden.len() {
                if rng.random_bool(0.3) {
                    mask.hidden.push(wiring.hidden[slot]);
                    mask.slots.push(slot as u32);
                }
                if slot % N_HIDDEN == N_HIDDEN - 1 {
                    mask.offsets.push(mask.slots.len() as u32);
                }
            }
            wiring.masks.push(mask);
        }
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        Problem {
            input: draw(counts.counts.len()),
            hidden: draw(n_cells * N_HIDDEN),
            weights: [(); 2].map(|()| draw(wiring.n_slots())),
            of_units: draw(N_HIDDEN),
            of_genes: [(); 2].map(|()| draw(N_GENES)),
            of_segments: draw(N_GENES * segments.len()),
            log_library: draw(n_cells).iter().map(|x| x + 6.0).collect(),
            counts,
            segments,
            wiring,
        }
    }

    /// What every pass gives, by name.
    fn results(&self, instructions: impl Instructions) -> Vec<(String, Vec<f32>)> {
        let Problem {
            counts,
            input,
            segments,
            wiring,
            hidden,
            weights: [weights, others],
            ..
        } = self;
        let encoded = encode::forward(
            instructions,
            counts,
            input,
            segments,
            wiring,
            weights,
            &self.of_units,
        );
        let back = encode::backward(instructions, counts, input, segments, wiring, hidden);
        let bias = &self.of_segments;
        let decoded = decode::forward(instructions, hidden, segments, wiring, weights, bias);
        let shares = softmax_with(instructions, &decoded, counts.n_cells).unwrap();
        let center = &self.of_genes[1];
        let logarithms =
            log_softmax_with(instructions, &decoded, counts.n_cells, 1e4, center).unwrap();
        let mut results = vec![
            ("encode".into(), encoded),
            ("encode, backwards".into(), back),
            ("decode".into(), decoded),
            ("softmax".into(), shares),
            ("softmax, logarithm".into(), logarithms),
        ];
        for likelihood in [Likelihood::Zinb, Likelihood::Nb, Likelihood::Poisson] {
            let head = Head {
                weights: others,
                bias: &self.of_genes[0],
                bias_by_segment: false,
            };
            let input = DecodeLossInput {
                likelihood,
                hidden,
                segments,
                wiring,
                scale: Head {
                    weights,
                    bias,
                    bias_by_segment: true,
                },
                dropout: likelihood.has_dropout().then_some(head),
                log_theta: likelihood.has_dispersion().then_some(&self.of_genes[1]),
                log_library: &self.log_library,
                counts,
                statistics: &GeneStatistic::ALL,
            };
            let mut workspace = Workspace::default();
            let value = decode_loss(instructions, &input, false, &mut workspace).unwrap();
            let loss = decode_loss(instructions, &input, true, &mut workspace).unwrap();
            assert_eq!(value.to_bits(), loss.to_bits());
            let found = workspace.gradients;
            // All 64 bits of the loss, as two numbers.
            let halves = [loss.to_bits() as u32, (loss.to_bits() >> 32) as u32];
            for (name, values) in [
                ("bits of the loss", halves.map(f32::from_bits).into()),
                ("loss", vec![loss as f32]),
                ("hidden", found.hidden),
                ("scale weights", found.scale.weights),
                ("scale bias", found.scale.bias),
                ("dropout weights", found.dropout.weights),
                ("dropout bias", found.dropout.bias),
                ("dispersions", found.log_theta.unwrap_or_default()),
                ("sums over cells", found.gene_sums),
            ] {
                results.push((format!("{likelihood:?} {name}"), values));
            }
        }
        results
    }
}

fn assert_same_bits(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)], what: &str) {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for ((name, a), (_, b)) in std::iter::zip(a, b) {
        assert!(bits(a) == bits(b), "{what}: {name} differs");
    }
}

#[test]
fn vectors_of_any_width_give_the_same_bits() {
    // Without AVX2 there is one width only, and nothing to compare.
    let Some(avx2) = V3::try_new() else {
        return;
    };
    for n_masks in [1, 3] {
        let problem = Problem::new(n_masks);
        let eight = problem.results(Exactly(avx2));
        let sixteen = problem.results(OtherWidth(avx2, V3_512b(avx2)));
        assert_same_bits(&eight, &sixteen, "sixteen lanes of AVX2");
        let four = problem.results(OtherWidth(avx2, V3_128b(avx2)));
        assert_same_bits(&eight, &four, "four lanes of AVX2");
        // On machines that have it.
        if let Some(avx512) = V4::try_new() {
            let sixteen = problem.results(Exactly(avx512));
            assert_same_bits(&eight, &sixteen, "AVX-512");
        }
    }
}

/// Without vectors there is no fused multiply-add: the bits differ, by rounding and no more.
#[test]
fn without_vectors_results_differ_by_rounding() {
    let Some(avx2) = V3::try_new() else {
        return;
    };
    let problem = Problem::new(3);
    let fused = problem.results(Exactly(avx2));
    let scalar = problem.results(Exactly(Scalar));
    for ((name, a), (_, b)) in std::iter::zip(&fused, &scalar) {
        if name.ends_with("bits of the loss") {
            continue;
        }
        assert_eq!(a.len(), b.len());
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let apart = std::iter::zip(a, b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs()));
        assert!(apart <= 1e-5 * largest, "{name}: {apart:e} of {largest:e}");
    }
}
