//! What cannot be computed is refused, or shows.

use pulp::Arch;
use scvae::kernels::{
    decode_loss, log_softmax_over_genes, softmax_over_genes, DecodeLossInput, Head, Likelihood,
    Workspace,
};

use crate::minibatch::{segments, Batch, Layer, ALL};

#[test]
fn parts_that_do_not_fit_are_refused() {
    let batch = Batch::new(4, 6, false, 1);
    let layer = Layer::new(&batch, 3, 1, 1);
    let good = layer.input(&batch, Likelihood::Zinb);
    // With a mask for each batch a segment's batch must have one.
    let of_batches = Layer::new(&batch, 3, 3, 1);
    let unknown = segments(&[(0, 2), (3, 4)]);
    let mut beyond = batch.counts.clone();
    beyond.cells[0] = 6;
    let mut gap = segments(&[(0, 2), (1, 4)]);
    gap[1].rows.start = 3;
    let too_long = segments(&[(0, 2), (1, 5)]);
    let short = segments(&[(0, 2), (1, 3)]);
    let empty = segments(&[(0, 2), (1, 0), (2, 4)]);
    let (weights, bias) = (&layer.weights[0][1..], &layer.bias[0][1..]);
    let broken = [
        DecodeLossInput {
            hidden: &layer.hidden[1..],
            ..good
        },
        DecodeLossInput {
            scale: Head {
                weights,
                ..good.scale
            },
            ..good
        },
        DecodeLossInput {
            scale: Head { bias, ..good.scale },
            ..good
        },
        DecodeLossInput {
            dropout: Some(Head {
                weights,
                ..good.scale
            }),
            ..good
        },
        DecodeLossInput {
            log_theta: Some(&batch.log_theta[1..]),
            ..good
        },
        // What a distribution has must be there, what it does not have must not.
        DecodeLossInput {
            log_theta: None,
            ..good
        },
        DecodeLossInput {
            dropout: None,
            ..good
        },
        DecodeLossInput {
            likelihood: Likelihood::Nb,
            ..good
        },
        DecodeLossInput {
            likelihood: Likelihood::Poisson,
            dropout: None,
            ..good
        },
        DecodeLossInput {
            log_library: &batch.log_library[1..],
            ..good
        },
        DecodeLossInput {
            counts: &beyond,
            ..good
        },
        DecodeLossInput {
            segments: &gap,
            ..good
        },
        DecodeLossInput {
            segments: &too_long,
            ..good
        },
        DecodeLossInput {
            segments: &short,
            ..good
        },
        DecodeLossInput {
            segments: &empty,
            ..good
        },
        DecodeLossInput {
            scale: Head {
                bias_by_segment: true,
                ..good.scale
            },
            ..good
        },
        DecodeLossInput {
            segments: &unknown,
            wiring: &of_batches.wiring,
            ..of_batches.input(&batch, Likelihood::Zinb)
        },
    ];
    let run =
        |input: &DecodeLossInput| decode_loss(Arch::new(), input, true, &mut Workspace::default());
    assert!(run(&good).is_ok());
    for input in broken {
        assert_eq!(run(&input).unwrap_err().class(), "scvae_error_argument");
    }
    assert!(softmax_over_genes(&batch.scale, 7).is_err());
    assert!(log_softmax_over_genes(&batch.scale, 5, 1e4, &[0.0; 3]).is_err());
}

#[test]
fn numbers_that_are_none_show_in_the_loss() {
    let mut batch = Batch::new(4, 6, false, 1);
    batch.scale[3] = f32::NAN;
    for likelihood in ALL {
        assert!(batch.fused(likelihood, true).unwrap().loss.is_nan());
    }
    let mut batch = Batch::new(4, 6, false, 1);
    batch.dropout[3] = f32::NAN;
    assert!(batch.fused(Likelihood::Zinb, true).unwrap().loss.is_nan());
    let mut batch = Batch::new(4, 6, false, 1);
    batch.log_theta[3] = f32::NAN;
    assert!(batch.fused(Likelihood::Nb, true).unwrap().loss.is_nan());
}
