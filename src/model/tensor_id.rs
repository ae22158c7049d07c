//! Names of the tensors that a model is made of.

use std::fmt;

/// A tensor of the model. Displayed as the name that it has in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorId {
    /// Weights of the encoder's sparsely connected layer, one per slot of the wiring.
    EncoderWeights,
    /// Its bias.
    EncoderBias,
    /// What the input of each batch's cells is reduced by; given, not trained.
    InputShift,
    /// The normalisation after it.
    EncoderNorm(NormPart),
    /// The encoder's fully connected layer.
    EncoderFc(DensePart),
    /// The normalisation after it.
    EncoderFcNorm(NormPart),
    /// A sub-module of the encoder's batchified module.
    EncoderBatch(Level, DensePart),
    /// Mean of q(z | x).
    LatentMean(DensePart),
    /// Log variance of q(z | x).
    LatentLogVariance(DensePart),
    /// The decoder's fully connected layer.
    DecoderFc(DensePart),
    /// The normalisation after it.
    DecoderNorm(NormPart),
    /// A sub-module of the decoder's batchified module.
    DecoderBatch(Level, DensePart),
    /// Weights of the head for `px_scale`.
    ScaleWeights,
    /// Its bias.
    ScaleBias,
    /// What the levels of a covariate add to that bias, levels x genes.
    ScaleOffsets(usize),
    /// Weights of the head for `px_dropout`.
    DropoutWeights,
    /// Its bias.
    DropoutBias,
    /// Log of `px_r`.
    LogTheta,
}

/// A level of a covariate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// Number of the covariate.
    pub covariate: usize,
    /// Number of the level.
    pub level: usize,
}

/// A tensor of a fully connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DensePart {
    /// Outputs x inputs.
    Weight,
    /// One per output.
    Bias,
}

/// A tensor of a normalisation, one value per feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormPart {
    /// Scale.
    Gamma,
    /// Shift.
    Beta,
    /// Running mean, collected along the way.
    RunningMean,
    /// Running variance, collected along the way.
    RunningVar,
}

impl TensorId {
    /// Whether training moves it along its gradient.
    pub fn is_trained(self) -> bool {
        match self {
            TensorId::InputShift => false,
            TensorId::EncoderNorm(part)
            | TensorId::EncoderFcNorm(part)
            | TensorId::DecoderNorm(part) => matches!(part, NormPart::Gamma | NormPart::Beta),
            _ => true,
        }
    }

    /// Whether it holds the weights that genes have in the decoder's heads.
    pub fn is_of_heads(self) -> bool {
        matches!(self, TensorId::ScaleWeights | TensorId::DropoutWeights)
    }

    /// Whether its length follows the connections.
    pub fn is_sparse(self) -> bool {
        matches!(
            self,
            TensorId::EncoderWeights | TensorId::ScaleWeights | TensorId::DropoutWeights
        )
    }
}

impl fmt::Display for TensorId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            TensorId::EncoderWeights => f.write_str("encoder.sparse.weights"),
            TensorId::EncoderBias => f.write_str("encoder.sparse.bias"),
            TensorId::InputShift => f.write_str("encoder.input_shift"),
            TensorId::EncoderNorm(part) => write!(f, "encoder.norm.{part}"),
            TensorId::EncoderFc(part) => write!(f, "encoder.fc.{part}"),
            TensorId::EncoderFcNorm(part) => write!(f, "encoder.fc.norm.{part}"),
            TensorId::EncoderBatch(level, part) => write!(f, "encoder.batch.{level}.{part}"),
            TensorId::LatentMean(part) => write!(f, "encoder.mean.{part}"),
            TensorId::LatentLogVariance(part) => write!(f, "encoder.log_variance.{part}"),
            TensorId::DecoderFc(part) => write!(f, "decoder.fc.{part}"),
            TensorId::DecoderNorm(part) => write!(f, "decoder.norm.{part}"),
            TensorId::DecoderBatch(level, part) => write!(f, "decoder.batch.{level}.{part}"),
            TensorId::ScaleWeights => f.write_str("decoder.scale.weights"),
            TensorId::ScaleBias => f.write_str("decoder.scale.bias"),
            TensorId::ScaleOffsets(covariate) => write!(f, "decoder.scale.offsets.{covariate}"),
            TensorId::DropoutWeights => f.write_str("decoder.dropout.weights"),
            TensorId::DropoutBias => f.write_str("decoder.dropout.bias"),
            TensorId::LogTheta => f.write_str("decoder.log_theta"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.covariate, self.level)
    }
}

impl fmt::Display for DensePart {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DensePart::Weight => "weight",
            DensePart::Bias => "bias",
        })
    }
}

impl fmt::Display for NormPart {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            NormPart::Gamma => "gamma",
            NormPart::Beta => "beta",
            NormPart::RunningMean => "running_mean",
            NormPart::RunningVar => "running_var",
        })
    }
}
